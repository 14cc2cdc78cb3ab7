"""Writes docs/models.md: whether each kind of model, in each combination, computes what Sentence Transformers does.

python tools/zoo.py [--only NAME ...] [--combination GLOB ...] [--show]

Small models of each family are built (tests/helpers/families.py), and every combination that runs here encodes a few
texts in every role. The results are compared with `encode_query`, `encode_document` and `encode` of a
`SentenceTransformer` loaded by itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.families import FAMILIES, Family  # noqa: E402

from embedgate import encoders  # noqa: E402
from embedgate.approved.tolerances import Tolerances, load_tolerances  # noqa: E402
from embedgate.core.cache import ArtefactCache  # noqa: E402
from embedgate.core.combination import Combination  # noqa: E402
from embedgate.core.errors import GateError  # noqa: E402
from embedgate.core.machine import library_versions, this_machine  # noqa: E402
from embedgate.core.model import Model, resolve  # noqa: E402
from embedgate.core.roles import DOCUMENT, QUERY, ROLES  # noqa: E402
from embedgate.data import load_calibration, load_golden  # noqa: E402
from embedgate.encoders import BuildContext, FloatArray  # noqa: E402
from embedgate.encoders.registry import Registry  # noqa: E402
