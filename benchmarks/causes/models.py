"""The models that faults happen to, and the texts that are asked: what one lacks, another has.

| model | is |
| --- | --- |
| `minilm` | the bundled all-MiniLM-L6-v2: mean pooling, Normalize, lower case, no accents, 256 tokens |
| `prompted` | three of its layers, prompts, capitals and accents kept, no Normalize, compared by dot product |
| `dense` | three of its layers, CLS pooling, a Dense layer, Normalize |
| `older` | all-MiniLM-L6-v2 as it may have been some steps of training before |
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

LAYERS = 3
PROMPTS = {"query": "search query: ", "document": "passage of text: "}
ODD = (
    "Zoë's café in São Paulo serves crème brûlée à la carte.",
    "THE MUSEUM IS CLOSED ON MONDAYS, EXCEPT IN AUGUST.",
    "first line: how to descale a kettle\nsecond line: put vinegar in, boil, wait, rinse twice",
    "Does  this   text, (which has -- some -- punctuation!) end?  Yes; it does...",
    "Invoice #4471-B: 3 x 12.50 EUR = 37.50 EUR, due 2024-03-01",
    "naïve Øresund façade, señor Müller and Łódź",
    "Prices rise.\n\nWages follow; rents do not.\tWho pays?",
    "東京は雨です。 Привет, мир! 🙂",
    "The council of Upper Brindle has decided to repair the bridge over the river in spring.",
    "The council of Upper Brindle has decided to repair the bridge over nothing; the money is gone.",
    "the museum is closed on mondays, except in august.",
    "one",
)
# How many rows of the bundled data are asked.
PAIRS, QUERIES, PASSAGES = 24, 12, 24
# Rows of the calibration texts that are joined: to some 930, 300, 180 and 90 tokens.
LONG = ((50, 80), (120, 128), (100, 112), (130, 135))
NOISE = 0.02


def build(work: Path) -> dict[str, Path]:
    """Builds what is not there yet.

    Args:
        work: The folder for models.

    Returns:
        By its name, the folder of each model.
    """
    from embedgate.core.model import DEFAULT_MODEL, resolve

    whole = resolve(DEFAULT_MODEL).path
    return {"minilm": whole, **{name: _made(work / name, whole, make) for name, make in MADE.items()}}


def texts() -> list[str]:
    """Texts that show one fault or another: odd ones, and some that are longer than models read."""
    long = _rows("calibration/texts.jsonl")
    return [*ODD, *(" ".join(row["text"] for row in long[start:stop]) for start, stop in LONG)]


def data(folder: Path) -> tuple[Path, Path]:
    """Writes the texts that are asked: sentence pairs with odd ones among them, and passages with their queries."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs, passages = folder / "asked.jsonl", folder / "found"
    rows = _rows("pairs/pairs.jsonl")[:PAIRS]
    odd = texts()
    rows += [{"sentence1": a, "sentence2": b, "score": i % 5} for i, (a, b) in enumerate(pairwise(odd))]
    _write(pairs, [{name: row[name] for name in ("sentence1", "sentence2", "score")} for row in rows])
    _passages(passages)
    return pairs, passages


def _passages(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    queries = _rows("passages/queries.jsonl")[:QUERIES]
    asked = {row["_id"] for row in queries}
    judged = [line.split("\t") for line in _bundled("passages/qrels/test.tsv").read_text("utf-8").splitlines()]
    kept = [line for line in judged if line[0] in asked]
    relevant = {line[1] for line in kept}
    corpus = _rows("passages/corpus.jsonl")
    further = [row for row in corpus if row["_id"] not in relevant]
    _write(folder / "queries.jsonl", [{"_id": row["_id"], "text": row["text"]} for row in queries])
    _write(folder / "corpus.jsonl", [row for row in corpus if row["_id"] in relevant] + further[:PASSAGES])
    (folder / "qrels" / "test.tsv").write_text("".join("\t".join(line) + "\n" for line in kept), "utf-8")


def _bundled(name: str) -> Path:
    from embedgate.data.cards import bundled_folder

    return bundled_folder() / name


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _bundled(name).read_text("utf-8").splitlines()]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def _made(folder: Path, whole: Path, make: Callable[[Path], None]) -> Path:
    """Makes a model once; one that was begun and not finished is made anew."""
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(whole, unfinished, copy_function=shutil.copyfile)
        make(unfinished)
        unfinished.rename(folder)
    return folder


def _edited(path: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text("utf-8"))
    edit(content)
    path.write_text(json.dumps(content, indent=2), "utf-8")


def _weights(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    changed = change(load_file(path))
    save_file({name: tensor.contiguous() for name, tensor in changed.items()}, path, metadata={"format": "pt"})


def _shallow(folder: Path) -> None:
    """Keeps the first layers."""
    _weights(folder, lambda named: {name: tensor for name, tensor in named.items() if _layer(name) < LAYERS})
    _edited(folder / "config.json", lambda config: config.update(num_hidden_layers=LAYERS))


def _layer(tensor: str) -> int:
    found = re.match(r"encoder\.layer\.(\d+)\.", tensor)
    return int(found[1]) if found else -1


def _prompted(folder: Path) -> None:
    _shallow(folder)
    _cased(folder)
    settings = {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "dot"}
    _edited(folder / "config_sentence_transformers.json", lambda config: config.update(settings))
    _edited(folder / "modules.json", lambda modules: modules.pop())


def _cased(folder: Path) -> None:
    """Gives words with capitals, which the vocabulary lacks, the places of unused ones, near their words without."""
    words = Counter(word for row in _rows("pairs/pairs.jsonl") for word in re.findall(r"\b[A-Z]\w*", row["sentence1"]))
    letters = [chr(ord("A") + i) for i in range(26)]
    wanted = dict.fromkeys(
        [*letters, *(f"##{letter}" for letter in letters), *(word for word, _ in words.most_common())]
    )
    vocab = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    free = [name for name in vocab if name.startswith("[unused")]
    moved = dict(zip(free, (each for each in wanted if each.lower() in vocab), strict=False))

    def tokenizer(content: Any) -> None:
        content["model"]["vocab"] = {moved.get(word, word): number for word, number in vocab.items()}
        content["normalizer"].update(lowercase=False, strip_accents=False)

    def near(named: dict[str, Any]) -> dict[str, Any]:
        table = named["embeddings.word_embeddings.weight"]
        for name, word in moved.items():
            table[vocab[name]] = table[vocab[word.lower()]] + 0.3 * table.std() * _noise(vocab[name], table[0])
        return named

    _edited(folder / "tokenizer.json", tokenizer)
    _edited(folder / "tokenizer_config.json", lambda c: c.update(do_lower_case=False, strip_accents=False))
    (folder / "vocab.txt").unlink()
    _weights(folder, near)


def _noise(seed: int, like: Any) -> Any:
    import torch

    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def _dense(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    _shallow(folder)
    modes = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    _edited(folder / "1_Pooling" / "config.json", lambda config: config.update(modes))
    width = json.loads((folder / "config.json").read_text("utf-8"))["hidden_size"]
    config = {
        "in_features": width,
        "out_features": width,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config), "utf-8")
    weight = _noise(7, torch.empty(width, width)) / width**0.5
    save_file(
        {"linear.weight": weight, "linear.bias": 0.1 * _noise(8, weight[0])}, folder / "2_Dense" / "model.safetensors"
    )
    kind = "sentence_transformers.models."
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    (folder / "modules.json").write_text(
        json.dumps(
            [{"idx": i, "name": str(i), "path": path, "type": kind + name} for i, (path, name) in enumerate(modules)]
        ),
        "utf-8",
    )


def steps_before(named: Mapping[str, Any]) -> dict[str, Any]:
    """Weights as they may have been some steps of training before.

    Args:
        named: The tensors of a model by name.
    """

    def before(name: str, weight: Any) -> Any:
        return weight + NOISE * weight.std() * _noise(crc32(name.encode()), weight)

    return {name: before(name, tensor) if name.endswith("weight") else tensor for name, tensor in named.items()}


def _older(folder: Path) -> None:
    _weights(folder, steps_before)


MADE: dict[str, Callable[[Path], None]] = {"prompted": _prompted, "dense": _dense, "older": _older}
