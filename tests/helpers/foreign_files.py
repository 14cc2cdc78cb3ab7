"""Sound files of every kind that embedgate reads and did not write itself: the seeds of damage.

Small, since what is changed at random in a large file is mostly the same thing again.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from embedgate.core.model import Model
from embedgate.core.roles import DOCUMENT, QUERY

MODEL = Model(Path("somewhere"), "MiniLM", "acme/MiniLM@1", "f" * 64)
ID = "a-int8-cpu"
TEXTS, DIM = 3, 4
WHEN = "2026-11-24T05:02:32Z"
PROVENANCE = {
    "cpu": "Acme 9000",
    "flags": "avx2 fma",
    "gpu": None,
    "os": "Linux 6.18",
    "python": "3.11.9",
    "threads": 2,
    "batch_size": 32,
    "libraries": {"torch": "2.13.0"},
    "embedgate": "0.1.0",
    "machine": "ab12",
    "files": {ID: "c" * 64},
}
PROBE = {"threads": 2, "gflops": 80.5, "bf16": 1.5, "fp16": None, "int8": 2.5, "small": 11.0, "gain": 1.8}
RAN = {"who": "octocat", "when": WHEN, "url": "https://example.org/runs/1"}


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def as_jsonl(*rows: Any) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def entry(metric: str, **more: Any) -> dict[str, Any]:
    about = {"combination": ID, "dataset": "pairs", "metric": metric, "dataset_sha256": "d" * 64, "approval": 1}
    return {"value": 0.5, "interval": [0.4, 0.6], "n": 10, **about, **more}


def baseline() -> bytes:
    approval = {"number": 1, "when": WHEN, "who": "Ada <ada@example.org>", "reason": "first", "changed": 2}
    more = {"commit": "e" * 40, "probe": PROBE, "ran": RAN, "provenance": PROVENANCE}
    second = {**approval, "number": 2, "reason": "again", "provenance": 1}
    return as_json(
        {
            "schema": 3,
            "model": {**identified(), "tensors": "b" * 64, "files": {"config.json": "c" * 64}},
            "approvals": [{**approval, **more}, second],
            "entries": [entry("spearman"), entry("time batch_32", sessions=[[1, 0.5], [2, 0.6]], approval=2)],
        }
    )


def identified() -> dict[str, Any]:
    return {"name": MODEL.name, "source": MODEL.source, "fingerprint": MODEL.fingerprint}


def approved_tensors(about: str, **tensors: np.ndarray) -> bytes:
    conditions = {"machine": "m", "flags": ["avx2"], "gpu": None, "threads": 2, "batch_size": 32, "reference": "r"}
    approval = {"when": WHEN, "who": "Ada", "reason": "first", "libraries": {"numpy": "2"}, "conditions": conditions}
    head = {"schema": 2, "fingerprint": MODEL.fingerprint, "texts_sha256": about, "approvals": {ID: approval}}
    return bytes(save({f"{ID}/{name}": part for name, part in tensors.items()}, {"embedgate": json.dumps(head)}))


def golden() -> bytes:
    return approved_tensors(
        "t",
        embeddings=np.linspace(-1, 1, TEXTS * DIM, dtype=np.float32).reshape(TEXTS, DIM),
        hidden=np.ones((TEXTS, 2), np.float32),
        token_ids=np.arange(6, dtype=np.int32),
        lengths=np.array([1, 2, 3], np.int32),
    )


def ranges() -> bytes:
    return approved_tensors("", ranges=both(), vectors=np.array([500]))


def both() -> np.ndarray:
    return np.stack([np.full(DIM, -0.5, np.float32), np.linspace(0, 1, DIM, dtype=np.float32)])


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def vectors() -> np.ndarray:
    return np.linspace(-1, 1, TEXTS * DIM, dtype=np.float32).reshape(TEXTS, DIM)


TOLERANCES = b"""alpha = 0.05
[default.retention]
all = 0.01
spearman = 0.02
[default.floor]
cosine_mean = 0.99
[default.promise]
time = 0.8
[weight_precision.int8.drift]
all = 0.005
[combination.onnxruntime-int8-cpu.golden]
move = 0.001
same_machine = 0.0
[stored.int8]
kept_at_10 = 0.95
[stored.64d-float32]
kept_at_10 = 0.9
[superior]
all = 0.0
"""
EXPECTED = b"""# Known defects
[[expected]]
combination = "*-int8-*"
dataset = "pairs"
check = "retention"
metric = "spearman"
kind = "known-defect"
reason = "per-tensor weights"
link = "https://example.org/issues/1"

[[expected]]
combination = "torch-bf16-cpu"
dataset = "*"
check = "*"
kind = "under-investigation"
reason = "since the upgrade"
link = "https://example.org/issues/2"
expires = 2026-12-31
profile = "cpu"
"""
PINNED = as_jsonl({"texts": ["The bank sold the bond.", "No."], "reason": "per-tensor"}, {"texts": ["a\u2028b"]})
CARD = b"""name = "tickets"
kind = "similarity"
version = "1"
language = "en de"
description = "Support tickets"
licence = "MIT"
sha256 = ""
[slices]
short = "up to five words"
"""
LISTED = b"""[tickets]
path = "tickets.csv"
columns = { sentence1 = "q1", negative = ["n1", "n2"] }
slices = ["language"]
weight = 2
delimiter = "tab"
ignore_identical_ids = true

["faq.de"]
path = "./faq"
kind = "retrieval"
split = "test"
"""
# Data

CSV = b'sentence1,sentence2,score,slice\n"a, b",c,1.5,short\nd,e,2,"long;odd"\nf,"g ""h""",3,\n'
TSV = b"text\tlabel\none\tx\ntwo\ty\nthree\tx\nfour\ty\n"
JSONL = as_jsonl(
    {"anchor": "a", "positive": "b", "negative": ["c", "d"]},
    {"anchor": "e", "positive": "f", "negative": "g", "slice": ["x"]},
    {"anchor": "h", "positive": "i", "negative": "j"},
)
JSON = as_json({"version": 1, "data": [{"sentence1": "a", "sentence2": str(n), "score": n} for n in range(4)]})
TXT = b"how do i reset it\n\nwhere is my order\nwie lange dauert es\ncancel\n"
CORPUS = as_jsonl(*({"_id": f"d{n}", "title": "", "text": f"document {n}"} for n in range(4)))
QUERIES = as_jsonl(*({"_id": f"q{n}", "text": f"query {n}", "metadata": {}} for n in range(3)))
QRELS = b"query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n"
TREC = b"q0 0 d0 1\nq1 0 d1 2\nq2 0 d3 -1\n"
STORED = as_jsonl(*({"text": f"text {n}", "vector": [0.5, n, -0.25, 1e-3], "role": "query"} for n in range(TEXTS)))
ANSWERS = as_jsonl(
    {"text": "a", "role": "query", "about": {"combination": ID, "origin": "http://h", "at": WHEN}, "vector": [0.1, 1]},
    {"text": "b", "role": "query", "route": "r", "vector": [0.3, -0.4]},
)


def table(**columns: Any) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


def pairs_in_parquet() -> bytes:
    return table(sentence1=["a", "b", "c"], sentence2=["d", "e", "f"], score=[1.0, 2.0, 3.0])


def stored_in_parquet() -> bytes:
    return table(text=["a", "b", "c"], vector=[*vectors().tolist()])


# Files of other libraries


def gguf(folder: Path) -> bytes:
    from gguf import GGUFWriter

    file = folder / "seed.gguf"
    made = GGUFWriter(file, "bert")
    made.add_context_length(16)
    made.add_embedding_length(4)
    made.add_uint32("bert.pooling_type", 1)
    made.add_array("bert.layers", [1, 2, 3])
    made.add_tokenizer_model("bert")
    made.add_token_list([b"[PAD]", b"a", b"b"])
    made.add_tensor("token_embd.weight", np.ones((3, 4), np.float32))
    made.add_tensor("blk.0.attn_q.weight", np.ones((4, 4), np.float16))
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return file.read_bytes()


def onnx(folder: Path) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    inside = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    outside = TensorProto(name="v", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "model.onnx.data", "offset": "0", "length": "64"}.items():
        outside.external_data.add(key=key, value=value)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    nodes = [
        helper.make_node("MatMulNBits", ["x", "w"], ["z"], domain="com.microsoft", bits=4, K=4, N=4),
        helper.make_node("MatMul", ["z", "v"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [inside, outside])
    return helper.make_model(graph).SerializeToString()


def openvino(folder: Path) -> tuple[bytes, bytes]:
    """Graph and weights."""
    import openvino as ov
    from openvino import opset13 as ops

    given = ops.parameter([-1, 4], dtype=np.float32, name="x")
    found = ops.matmul(given, ops.constant(np.ones((4, 2), np.float32)), False, False)
    file = folder / "seed.xml"
    ov.save_model(ov.Model([found], [given], "g"), file, compress_to_fp16=False)
    return file.read_bytes(), file.with_suffix(".bin").read_bytes()


# Models

TRANSFORMER, POOLING, DENSE, NORMALIZE = (
    f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Dense", "Normalize")
)


def modules(*kinds: tuple[str, str]) -> bytes:
    return as_json([{"idx": n, "name": str(n), "path": path, "type": kind} for n, (kind, path) in enumerate(kinds)])


WEIGHTS = bytes(save({"embeddings.word_embeddings.weight": np.ones((3, 4), np.float32)}, {"format": "pt"}))
MODEL_FILES: Mapping[str, bytes] = {
    "modules.json": modules((TRANSFORMER, ""), (POOLING, "1_Pooling"), (DENSE, "2_Dense"), (NORMALIZE, "3_Normalize")),
    "config.json": as_json(
        {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 4, "dtype": "float32"}
    ),
    "model.safetensors": WEIGHTS,
    "tokenizer.json": as_json({"version": "1.0", "model": {"type": "WordPiece", "vocab": {"[PAD]": 0, "a": 1}}}),
    "tokenizer_config.json": as_json(
        {"model_max_length": 16, "tokenizer_class": "BertTokenizer", "pad_token": "[PAD]"}
    ),
    "special_tokens_map.json": as_json({"pad_token": "[PAD]"}),
    "sentence_bert_config.json": as_json(
        {"max_seq_length": 16, "do_lower_case": False, "model_args": {"dtype": "float32"}, "config_args": {}}
    ),
    "config_sentence_transformers.json": as_json(
        {
            "__version__": {"sentence_transformers": "6.2.0"},
            "model_type": "SentenceTransformer",
            "prompts": {"query": "query: ", "document": "", "other": None},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
            "truncate_dim": 2,
        }
    ),
    "1_Pooling/config.json": as_json({"embedding_dimension": 4, "pooling_mode": "mean", "include_prompt": True}),
    "2_Dense/config.json": as_json({"in_features": 4, "out_features": 4, "bias": True}),
    "2_Dense/model.safetensors": bytes(save({"linear.weight": np.ones((4, 4), np.float32)})),
}
# How the config of a folder says that its weights are quantized.
QUANTIZED = (
    {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}},
    {"quant_method": "quanto", "weights": "int8", "activations": None},
    {"quant_method": "gptq", "bits": 4},
)
# In place of one file of weights.
INDEX = as_json(
    {"metadata": {"total_size": 48}, "weight_map": {"embeddings.word_embeddings.weight": "model-1.safetensors"}}
)
ROUTER = as_json(
    {
        "types": {"query_0": TRANSFORMER, "query_1": POOLING, "document_0": TRANSFORMER, "document_1": POOLING},
        "structure": {"query": ["query_0", "query_1"], "document": ["document_0", "document_1"]},
        "parameters": {
            "default_route": "document",
            "allow_empty_key": True,
            "route_mappings": {"('query', 'text')": "query", "(None, None)": "document"},
        },
    }
)
README = b"""---
language:
- en
- de-CH
license: mit
---
# A model
```json
{
    "matryoshka_dims": [4, 3, 2],
    "n_dims_per_step": -1
}
```
"""


def write_model(folder: Path, without: str = "", **more: bytes) -> None:
    """A folder of a model without weights that mean anything."""
    for name, content in {**MODEL_FILES, **more}.items():
        if name != without:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    (folder / "3_Normalize").mkdir(exist_ok=True)


def write_router(folder: Path) -> None:
    """A folder of a model that has other modules for queries than for documents."""
    for role in (QUERY, DOCUMENT):
        for place, names in (
            ("0", ("config.json", "model.safetensors", "tokenizer.json")),
            ("1", ("1_Pooling/config.json",)),
        ):
            inner = folder / f"{role}_{place}"
            inner.mkdir(parents=True, exist_ok=True)
            for name in names:
                (inner / Path(name).name).write_bytes(MODEL_FILES[name])
    (folder / "modules.json").write_bytes(modules(("sentence_transformers.models.Router", "")))


# Notes of embedgate's own

NOTE = as_json({"pid": 4_000_000, "started": 1.5, "what": "torch-int8-cpu: encodes"})
KEY = {"model": MODEL.fingerprint, "version": 1}
ARTEFACT = as_json({"kind": "onnx", "key": KEY, "record": {"nodes": 3, "plan_sha256": "a"}, "seconds": 1.25})
PROGRESS = as_json({"key": "k", "chunks": 2, "bytes": 176})
PYTEST_INI = b"[pytest]\naddopts = -q\n  -x\ngate_model = models/minilm\ngate_data =\n    a.csv\n    b.csv\n"
PYPROJECT = b'[project]\nname = "a"\n[tool.pytest.ini_options]\naddopts = "-q"\ngate_data = ["a.csv"]\n'
OWNERS = b"# owners\n/src/ @acme/team\n\n/gate/ @acme/search ada@example.org\n"


def stamp() -> dict[str, Any]:
    vector = base64.b64encode(np.array([0.6, 0.8], "<f4").tobytes()).decode()
    return {
        "model": "e5",
        "source": "acme/e5@1",
        "fingerprint": "f" * 64,
        "combination": "torch-fp32-cpu",
        "similarity": "cosine",
        "dim": 2,
        "normalised": True,
        "embedding_precision": "float32",
        "prompts": {"query": "query: ", "document": ""},
        "least_cosine": 0.99,
        "canaries": [
            {"text": "a", "role": "query", "vector": vector},
            {"text": "b", "role": "document", "vector": vector},
        ],
        "made": WHEN,
        "embedgate": "0.1.0",
        "schema": 1,
        "sha256": "",
    }
