"""Files of other backends that name files elsewhere, or hold more than a graph: refused, or nothing of it is run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import openvino as ov
import pytest
from gguf import GGUFWriter
from helpers.paths import ROOT
from onnx import TensorProto, external_data_helper, helper

from embedgate.core.errors import GateError
from embedgate.deployed import source_of
from embedgate.deployed.gguf.header import read_header
from embedgate.encoders.onnx.graph import locations
from embedgate.encoders.onnx.session import session

BOMB = """<?xml version="1.0"?>
<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa">{}]>
<net name="&i;" version="11"><layers/><edges/></net>
""".format("".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)))


def elsewhere(name: str) -> TensorProto:
    """A tensor of one number that lies in a file."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.raw_data = b"\x00\x00\x80?"
    tensor.ClearField("float_data")
    external_data_helper.set_external_data(tensor, name, 0, 4)
    tensor.ClearField("raw_data")
    return tensor


def value(name: str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [1])


def in_initializer(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["w"], ["out"])
    return helper.make_model(helper.make_graph([node], "g", [], [value("out")], [tensor]))


def in_constant(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["out"], value=tensor)
    return helper.make_model(helper.make_graph([node], "g", [], [value("out")]))


def in_branch(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["w"], ["o"])
    branch = helper.make_graph([node], "b", [], [value("o")], [tensor])
    inner = helper.make_node("If", ["c"], ["o"], then_branch=branch, else_branch=branch)
    outer = helper.make_graph([inner], "b", [], [value("o")])
    node = helper.make_node("If", ["c"], ["out"], then_branch=outer, else_branch=outer)
    return helper.make_model(helper.make_graph([node], "g", [value("c", TensorProto.BOOL)], [value("out")]))


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["o"], value=tensor)
    own = helper.make_function("own", "F", [], ["o"], [node], [helper.make_opsetid("", 21)])
    call = helper.make_node("F", [], ["out"], domain="own")
    return helper.make_model(helper.make_graph([call], "g", [], [value("out")]), functions=[own])


def in_sparse(tensor: TensorProto) -> onnx.ModelProto:
    sparse = helper.make_sparse_tensor(tensor, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [1])
    node = helper.make_node("Constant", [], ["out"], sparse_value=sparse)
    return helper.make_model(helper.make_graph([node], "g", [], [value("out")]))


PLACES = (in_initializer, in_constant, in_branch, in_function, in_sparse)


@pytest.fixture
def gated(tmp_path) -> SimpleNamespace:
    (tmp_path / "model").mkdir()
    return SimpleNamespace(name="tiny", path=tmp_path / "model", has_folder=True, source="tiny")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/../../secret"])
def test_weights_outside_the_folder_are_refused_wherever_a_graph_names_them(place, name, gated):
    """Branches, functions and constants were not looked at."""
    onnx.save(place(elsewhere(name)), gated.path / "model.onnx")
    with pytest.raises(GateError, match=rf"model\.onnx keeps weights outside its folder: {re.escape(name)}"):
        source_of("model.onnx", gated)


@pytest.mark.parametrize("place", PLACES)
def test_weights_that_a_link_leads_to_outside_the_folder_are_refused(place, gated, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(4))
    (gated.path / "w.data").symlink_to(tmp_path / "secret")
    onnx.save(place(elsewhere("w.data")), gated.path / "model.onnx")
    with pytest.raises(GateError, match=r"keeps weights outside its folder: w\.data"):
        source_of("model.onnx", gated)


@pytest.mark.parametrize("place", PLACES)
def test_weights_beside_a_graph_are_part_of_what_is_hashed(place, gated):
    onnx.save(place(elsewhere("w.data")), gated.path / "model.onnx")
    assert locations(onnx.load(gated.path / "model.onnx", load_external_data=False)) == ["w.data"]
    (gated.path / "w.data").write_bytes(bytes(4))
    before = source_of("model.onnx", gated).identity
    (gated.path / "w.data").write_bytes(b"\x01" * 4)
    assert source_of("model.onnx", gated).identity != before


def test_entities_of_an_ir_are_not_expanded(gated):
    """Nine levels of ten would be a gigabyte."""
    (gated.path / "model.xml").write_text(BOMB, "utf-8")
    (gated.path / "model.bin").write_bytes(b"")
    source_of("model.xml", gated)
    name = ov.Core().read_model(gated.path / "model.xml").friendly_name
    assert len(name) < 100


@pytest.mark.parametrize(
    ("domain", "kind", "attributes"),
    [
        ("evil", "Runs", {}),
        ("ai.onnx.contrib", "PyOp", {"module": "os", "compute": "abort"}),
        ("com.microsoft", "EPContext", {"embed_mode": 0, "ep_cache_context": "../secret", "main_context": 1}),
        ("com.microsoft", "ATen", {"operator": "aten::abort"}),
    ],
)
def test_operators_of_libraries_that_a_graph_asks_for_do_not_run(domain, kind, attributes, tmp_path):
    node = helper.make_node(kind, ["in"], ["out"], domain=domain, **attributes)
    graph = helper.make_graph([node], "g", [value("in")], [value("out")])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(domain, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(Exception, match=kind):
        session(tmp_path / "model.onnx", 1)


def test_an_ir_that_asks_for_an_operator_of_an_extension_is_refused(gated):
    port = '<port id="0" precision="FP32"><dim>1</dim></port>'
    layers = f'<layer id="0" name="a" type="Runs" version="extension"><output>{port}</output></layer>'
    layers += f'<layer id="1" name="b" type="Result" version="opset1"><input>{port}</input></layer>'
    edges = '<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>'
    ir = f'<?xml version="1.0"?><net name="a" version="11"><layers>{layers}</layers><edges>{edges}</edges></net>'
    (gated.path / "model.xml").write_text(ir, "utf-8")
    (gated.path / "model.bin").write_bytes(b"")
    with pytest.raises(GateError, match=r"model\.xml is no OpenVINO IR: .*"):
        source_of("model.xml", gated)


def test_a_template_of_a_gguf_is_left_alone(tmp_path):
    writer = GGUFWriter(tmp_path / "model.gguf", "bert")
    writer.add_token_list(["a"])
    writer.add_chat_template("{{ cycler.__init__.__globals__.os.abort() }}")
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((32, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(tmp_path / "model.gguf", "model.gguf")
    assert header.types == {"F32": 1}
    assert "abort" not in repr(header)


@pytest.mark.parametrize(
    "call",
    [
        "apply_template",  # of chats: transformers' and llama.cpp's
        "chat_template(",
        "add_extension",  # OpenVINO's operations out of a library
        "register_custom_ops_library",  # ONNX Runtime's
        "engine_host_code_allowed",  # code for the CPU within an engine of TensorRT
        "load_library",  # plugins of TensorRT
        "read_index",  # faiss's own files
        "deserialize_index",
        "Index.restore",  # usearch's
        "allow_pickle=True",
        "trust_remote_code=True",
        "weights_only=False",
        "pickle.load(",
        "torch.load(",
        "shell=True",
        "verify=False",
        "follow_redirects=True",
    ],
)
def test_embedgate_never_asks_for_it(call):
    files = [file for folder in ("src", "suites", "fixtures") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    assert [str(file) for file in files if call in Path(file).read_text("utf-8")] == []
