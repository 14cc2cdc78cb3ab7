"""Datasets: read from the bundled folder, users' files and folders, or the hub, as one frozen class per kind."""

from embedgate.data.cards import Card, bundled
from embedgate.data.readers import load, load_bundled, load_calibration, load_golden
from embedgate.data.types import Dataset, Kind, Labelled, Origin, Retrieval, Similarity, Texts, Triplets

__all__ = [
    "Card",
    "Dataset",
    "Kind",
    "Labelled",
    "Origin",
    "Retrieval",
    "Similarity",
    "Texts",
    "Triplets",
    "bundled",
    "load",
    "load_bundled",
    "load_calibration",
    "load_golden",
]
