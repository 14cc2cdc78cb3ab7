"""Imports what sessions in the process of a test use.

pytester forgets what such a session imported: the next would import torch anew, and libraries such as numpy and onnx
cannot be imported twice.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages

import torch

import embedgate

LIBRARIES = ("faiss", "httpcore", "onnx", "onnxruntime", "sentence_transformers", "torch", "usearch.index")
# They are collected or run, not imported.
LEFT_OUT = ("embedgate.suites", "embedgate.fixtures", "embedgate.baselines")


def preload() -> None:
    """Imports libraries and all of embedgate; what is not installed here is left to the tests that need it."""
    for name in LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    for module in walk_packages(embedgate.__path__, "embedgate."):
        if not module.name.startswith(LEFT_OUT) and not module.name.endswith("__main__"):
            with suppress(ImportError):
                import_module(module.name)
    with suppress(ImportError):  # torch imports the parts of its exporter on the first export
        torch.onnx.export(torch.nn.Identity().eval(), (torch.zeros(1),), dynamo=True, verbose=False)
    # They are never freed: looking at them takes each collection half a second, and sessions ask for many.
    gc.collect()
    gc.freeze()
