"""What a candidate may promise: words that tolerances and evidence know, so that a misspelt one loosens nothing."""

from __future__ import annotations

import pytest

from embedgate.core.combination import SERVED
from embedgate.core.errors import GateError
from embedgate.core.spec import Spec


@pytest.mark.parametrize(
    "word", ["fp32", "bf16", "int8", "int8wo", "int8static", "int4", "uint8", "nf4", "fp8wo", "mxfp4", "amp"]
)
def test_a_weight_precision_is_promised(word):
    assert Spec.parse(f"model.onnx::promise={word}").combination("model", "fp32").weight_precision == word


@pytest.mark.parametrize("word", ["float32", "fp_32", "banana", "int", "int9", "fp"])
def test_any_other_word_is_refused(word):
    told = rf"--gate-candidate model.onnx has promise={word}, which promises nothing; write a weight precision: fp32, "
    with pytest.raises(GateError, match=told):
        Spec.parse(f"model.onnx::promise={word}").combination("model", "fp32")


@pytest.mark.parametrize("keys", ["name", "name=a,promise", ",,,"])
def test_a_key_without_a_value_is_told(keys):
    with pytest.raises(GateError, match=r"has '.*', which is no key=value; write WHERE::key=value"):
        Spec.parse(f"onnx/model.onnx::{keys}")


def test_an_address_of_ipv6_is_no_key():
    assert Spec.parse("http://[::1]:8080").where == "http://[::1]:8080"
    assert Spec.parse("http://[fe80::abc]:8080::model=a").given == {"model": "a"}


def test_a_server_alone_may_promise_nothing():
    assert Spec.parse(f"http://host::promise={SERVED}").combination("host", SERVED).weight_precision == SERVED
    with pytest.raises(GateError, match="has promise=served, which promises nothing; leave it out, or write a weight"):
        Spec.parse(f"model.onnx::promise={SERVED}").combination("model", "fp32")
