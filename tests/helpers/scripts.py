"""Scripts in benchmarks/, loaded as modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from helpers.paths import ROOT


@contextmanager
def benchmark(name: str) -> Iterator[ModuleType]:
    """A benchmark by its name, with the modules of its folder; all of them are forgotten again.

    These have short names, such as `faults`.
    """
    path, before, known = ROOT / f"benchmarks/{name}.py", list(sys.path), set(sys.modules)
    spec = importlib.util.spec_from_file_location(f"benchmark_of_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before
    for each in set(sys.modules) - known:
        if str(getattr(sys.modules[each], "__file__", "")).startswith(str(path.parent)):
            del sys.modules[each]
