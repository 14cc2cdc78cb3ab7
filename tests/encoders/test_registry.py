"""Which combinations there are follows from the backends' folders, and what they promise from what these say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict

import pytest

from embedgate import encoders
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, Unavailable
from embedgate.encoders import LEAST_STABILITY, Stability
from embedgate.encoders.evidence import promised
from embedgate.encoders.registry import Backend, Offer, Registry, backends, distributions, offers, stability_of

INVENTED = """
from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer

BACKEND = Backend(
    "zzz",
    offers={"cpu": (Offer("int3", "int3", Stability(batch=0.7)),)},
    distributions=("zzz-runtime",),
    extras={"cpu": "zzz"},
)
"""


@pytest.fixture
def invented(tmp_path, monkeypatch):
    """A backend in a folder of its own, whose `encoder` imports a library that is not there."""
    folder = tmp_path / "zzz"
    folder.mkdir()
    (folder / "__init__.py").write_text(INVENTED)
    (folder / "encoder.py").write_text("import zzz_runtime\n")
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(tmp_path)])
    monkeypatch.setattr("embedgate.encoders.registry.backends", backends.__wrapped__)
    yield Combination.parse("zzz-int3-cpu")
    sys.modules.pop("embedgate.encoders.zzz", None)


def test_a_folder_that_says_its_facts_is_a_backend_and_comes_last(invented):
    assert list(Registry())[-1] == invented
    assert "zzz-runtime" in distributions()
    assert (promised(invented), stability_of(invented)) == ("int3", Stability(batch=0.7))
    assert promised(Combination.parse("acme-int3-cuda")) == "int3", "the word means the same elsewhere"


def test_the_order_of_the_report():
    first = ["torch", "bitsandbytes", "torchao", "onnxruntime", "openvino", "tensorrt"]
    assert [backend.name for backend in backends()][: len(first)] == first
    assert next(iter(Registry())) == Combination.parse("torch-fp32-cpu")


@pytest.mark.parametrize(("device", "extras"), [("cpu", "zzz"), ("cuda", "gpu,zzz")])
def test_the_extras_of_the_device_are_told_where_the_library_is_missing(invented, device, extras):
    offer = Offer("int3", "int3", LEAST_STABILITY)
    backend = Backend("zzz", {"cpu": (offer,)}, extras={"cpu": "zzz", "cuda": "gpu,zzz"})
    with pytest.raises(Unavailable) as caught:
        backend.module(device)
    assert str(caught.value) == (
        f"a library of zzz cannot be imported (No module named 'zzz_runtime'); pip install 'embedgate[{extras}]'"
    )


def test_onnxruntime_is_installed_with_other_extras_for_cuda():
    (found,) = (backend for backend in backends() if backend.name == "onnxruntime")
    assert found.extras == {"cpu": "onnx", "cuda": "gpu"}


def test_every_folder_is_named_as_its_backend_and_every_device_of_an_extra_is_offered():
    for backend in backends():
        assert sys.modules[f"embedgate.encoders.{backend.name}"].BACKEND is backend
        assert backend.extras.keys() <= backend.offers.keys()


def test_a_word_promises_the_same_type_in_every_backend():
    """Else what a host's encoder of that word promises would depend on the order of the report."""
    types = defaultdict(set)
    for combination, offer in offers().items():
        types[combination.weight_precision, combination.device].add(offer.computes_in)
    assert {word: found for word, found in types.items() if len(found) != 1} == {}


@pytest.mark.parametrize(
    ("name", "computes_in", "stability"),
    [
        ("acme-fp32-cuda", "float32", Stability(1e-5)),
        ("acme-fp16-cpu", "float16", Stability(5e-3)),
        ("acme-bf16-cuda", "bfloat16", Stability(3e-2)),
        ("acme-amp-cpu", "bfloat16", Stability(3e-2)),
        ("acme-amp-cuda", "float16", Stability(3e-2)),
        ("acme-compile-cuda", "float16", LEAST_STABILITY),
        ("acme-int8static-cuda", "int8", LEAST_STABILITY),
        ("acme-fp8-cpu", "float8_e4m3fn", LEAST_STABILITY),
        ("acme-q4-cpu", None, LEAST_STABILITY),
        ("tensorrt-fp16-cuda", "float16", Stability(1e-2)),
        ("bitsandbytes-int8-cpu", "int8", Stability(0.15)),
    ],
)
def test_what_is_promised_is_the_backends_own_or_the_words(name, computes_in, stability):
    combination = Combination.parse(name)
    assert (promised(combination), stability_of(combination)) == (computes_in, stability)


def test_a_host_takes_no_id_that_is_offered():
    with pytest.raises(GateError, match="torch-fp16-cpu exists already"):
        Registry().add("torch-fp16-cpu", lambda path, device: None)


def test_the_facts_of_all_backends_import_no_library():
    heavy = {"torch", "transformers", "sentence_transformers", "onnx", "onnxruntime", "openvino", "tensorrt", "torchao"}
    code = (
        "import json, sys; from embedgate.encoders.registry import offers; "
        f"print(json.dumps([len(offers()), sorted({heavy!r} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [len(offers()), []]
