"""Imports what sessions in the process of a test use.

pytester forgets what such a session imported: the next would import torch anew, and libraries such as numpy and onnx
cannot be imported twice.
"""

from __future__ import annotations

import gc
from importlib import import_module
from pkgutil import walk_packages

import embedgate

LIBRARIES = ("faiss", "onnx", "onnxruntime", "sentence_transformers", "torch", "usearch.index")
# They are collected or run, not imported.
LEFT_OUT = ("embedgate.suites", "embedgate.fixtures", "embedgate.baselines")

for _name in LIBRARIES:
    import_module(_name)
for _module in walk_packages(embedgate.__path__, "embedgate."):
    if not _module.name.startswith(LEFT_OUT) and not _module.name.endswith("__main__"):
        import_module(_module.name)

# They are never freed: looking at them takes each collection half a second, and sessions ask for many.
gc.collect()
gc.freeze()
