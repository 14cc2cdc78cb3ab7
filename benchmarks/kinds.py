"""How long a verdict takes for each kind of candidate: one command each, on the bundled data, and no line of code.

    python benchmarks/kinds.py MODEL --server http://127.0.0.1:8000::model=my-model --gguf my-model-q8_0.gguf

MODEL is a folder that has `onnx/model.onnx`, as most models have. The files of other kinds are made of it, in a folder
of the system's temporary files. Every command asks all checks but budgets and searches among stored vectors; of an
index, these are the only ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OUT = Path(tempfile.gettempdir()) / "embedgate-kinds"
ASKED = "not budget and not search"
FILES = (
    ("ONNX file", "onnx/model.onnx"),
    ("ONNX file, int8", "onnx/model_qint8_avx512_vnni.onnx"),
    ("OpenVINO IR", "openvino/openvino_model.xml::infers_in=fp32"),
)


def commands(model: Path, server: str, gguf: str) -> Iterator[tuple[str, list[str]]]:
    """The arguments of each kind; the names of files that the folder does not have are left out."""
    for kind, name in FILES:
        if (model / name.partition("::")[0]).is_file():
            yield kind, ["-m", ASKED, f"--gate-candidate={name}"]
    yield "checkpoint", ["-m", ASKED, f"--gate-candidate={_halved(model)}::name=checkpoint"]
    if gguf:
        yield "GGUF", ["-m", ASKED, f"--gate-candidate={gguf}"]
    if server:
        recorded = OUT / "recorded"
        for file in recorded.glob("*.answers.jsonl"):
            file.unlink()
        yield "server", ["-m", ASKED, f"--gate-candidate={server}", f"--gate-record={recorded}"]
        (file,) = recorded.glob("*.answers.jsonl")
        yield "recorded answers", ["-m", ASKED, f"--gate-candidate={file}"]
    yield "index", ["-k", "stored", f"--gate-candidate={_index(model)}"]


def _halved(model: Path) -> Path:
    """The model as a checkpoint in bfloat16."""
    import torch
    from sentence_transformers import SentenceTransformer

    folder = OUT / "checkpoint-bf16"
    if not folder.is_dir():
        SentenceTransformer(str(model), device="cpu").to(torch.bfloat16).save(str(folder))
    return folder


def _index(model: Path) -> Path:
    """The bundled texts and their vectors as a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet
    from sentence_transformers import SentenceTransformer

    from embedgate.data import bundled, load

    file = OUT / "index.parquet"
    texts = sorted({text for name in bundled() for text in load(name).texts()})
    vectors = SentenceTransformer(str(model), device="cpu").encode(texts)
    parquet.write_table(pa.table({"text": texts, "vector": list(vectors)}), file)
    return file


def timed(model: Path, arguments: list[str]) -> tuple[float, str]:
    """Seconds that a command takes, and pytest's last line."""
    started = time.monotonic()
    usual = ["-p", "no:cacheprovider", "--pyargs", "embedgate.suites", f"--gate-model={model}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *usual, *arguments], capture_output=True, text=True, check=False
    )
    return time.monotonic() - started, done.stdout.strip().splitlines()[-1].strip("= ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--server", default="", help="a candidate, as --gate-candidate takes it")
    parser.add_argument("--gguf", default="", help="a GGUF of the model")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    print("| kind | lines of code | seconds | |\n| --- | --- | --- | --- |", flush=True)
    for kind, arguments in commands(given.model.resolve(), given.server, given.gguf):
        seconds, last = timed(given.model.resolve(), arguments)
        print(f"| {kind} | 0 | {seconds:.0f} | {last} |", flush=True)
