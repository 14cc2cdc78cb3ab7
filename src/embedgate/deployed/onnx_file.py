"""An ONNX file, as ONNX Runtime serves it: from the model's folder, or from anywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from embedgate.core.distrust import MALFORMED, distrusting
from embedgate.core.errors import GateError
from embedgate.core.model import Model
from embedgate.core.spec import Spec
from embedgate.deployed import files
from embedgate.deployed.backend_file import BackendFile
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.onnx.graph import Graph, locations, read_graph, tensor_bytes
from embedgate.encoders.sources import Source

# Which output to use, where a file has several.
OUTPUT = "output"
# Nodes that multiply in 8 bits, or say that what they read is to be.
INTEGER = (
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QAttention",
    "QGemm",
    "QLinearMatMul",
    "QuantizeLinear",
)
# Weight precisions by the type of most bytes; in 8 bits without the nodes above, weights are widened before products.
STORED: dict[int, str] = {
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8wo",
    TensorProto.UINT8: "int8wo",
}
ANEW = "fetch or export it anew"


def source(spec: Spec, model: Model) -> Source:
    """What runs an ONNX file.

    Raises:
        GateError: If there is no such file, or it is no ONNX file, or lacks weights that it keeps beside itself.
    """
    spec.refuse_unknown((OUTPUT,))
    path = files.find(spec, model)
    origin = files.shown(path, model)
    with distrusting(GateError, f"{origin} is no ONNX file", ANEW, DecodeError, OSError):
        graph = read_graph(path)
    if not graph.proto.graph.node:
        raise GateError(f"{origin} is no ONNX file: it holds no graph", ANEW)
    with distrusting(GateError, f"{origin} is no ONNX file that can be run", ANEW, OSError):
        kind, beside_it = _stored_in(graph), _beside(graph, path, origin)
    combination = spec.combination(files.name_of(path), files.promise_of(path) or kind)
    return OnnxFile([path, *beside_it], combination, origin, spec.given.get(OUTPUT))


def beside(path: Path) -> list[str]:
    """The files of its weights beside it, as it names them; none of what is no ONNX file."""
    try:
        return locations(read_graph(path).proto)
    except (DecodeError, OSError, *MALFORMED):
        return []


def _beside(graph: Graph, path: Path, origin: str) -> list[Path]:
    """The files of its weights beside it.

    Raises:
        GateError: If one of them is missing or elsewhere.
    """
    found = []
    for name in locations(graph.proto):
        file = graph.folder / name
        # In the hub's cache, all files are links into one folder.
        places = (graph.folder.resolve(), path.resolve().parent)
        if not files.stays_within(Path(name)) or not any(map(file.resolve().is_relative_to, places)):
            raise GateError(f"{origin} keeps weights outside its folder: {name}", ANEW)
        if not file.is_file():
            raise GateError(f"{origin} keeps weights in {file}, which is missing", "fetch that file, too")
        files.refuse_pointer(file)
        found.append(file)
    return found


def _stored_in(graph: Graph) -> str:
    """The weight precision that a file's nodes and weights tell, where its name promises none."""
    nodes = Counter(node.op_type for node in graph.proto.graph.node)
    if any(nodes[kind] for kind in INTEGER):
        return "int8"
    for node in graph.proto.graph.node:
        if node.op_type == "MatMulNBits":
            return f"int{next(helper.get_attribute_value(each) for each in node.attribute if each.name == 'bits')}"
    size: Counter[int] = Counter()
    for tensor in graph.proto.graph.initializer:
        size[tensor.data_type] += tensor_bytes(tensor)
    return STORED.get(max(size, key=size.__getitem__, default=0), "fp32")


class OnnxFile(BackendFile):
    """Runs an ONNX file by ONNX Runtime; see `BackendFile`."""

    backend = "onnxruntime"

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Loads the file; see `Source.build`."""
        from embedgate.deployed.onnx_encoder import OnnxFileEncoder

        return OnnxFileEncoder(model, self._parts[0], self.combination, context, self.origin, self._output)
