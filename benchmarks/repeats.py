"""What repeats its bits on one machine, and what one faulty layer moves: prints the table of `docs/properties.md`.

    python benchmarks/repeats.py                                # every combination here, hours on two cores
    python benchmarks/repeats.py --combination 'onnxruntime-*' --processes 3 --takes 3
    python benchmarks/repeats.py --work out/repeats --print     # the table of what was measured there
    python benchmarks/repeats.py --model FOLDER --work out/other  # of another BERT

The golden texts are taken again and again, with other texts encoded in between: in the same process, in new processes,
with another number of threads, and with every artefact built anew besides. Then each of the model's layers, and the
Linear whose loss shows least in the reference, has its weights times 0.9, and the combination is built of that model.
What was measured is kept in `--work`, and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random

import numpy as np
from safetensors.numpy import load_file, save_file

from embedgate.core.cache import cache_root
from embedgate.core.combination import Combination
from embedgate.core.model import DEFAULT_MODEL, resolve
from embedgate.core.settings import Settings
from embedgate.data import load_calibration, load_golden
from embedgate.diagnosis.golden import BATCH, Golden, largest_move, take_golden
from embedgate.encoders.registry import Registry
from embedgate.runtime.encoding import by_role
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session

FAULT = 0.9
# Texts encoded between two takes, so that what an encoder keeps of its batches shows.
BETWEEN = 24
# A fault that moves a few of the texts is red: those of the shortest batches are soonest taken.
FAULTY_BATCHES = 2
REFERENCE = "torch-fp32-cpu"
TITLES = (
    "combination",
    "takes alike",
    "same process",
    "new process",
    "other threads",
    "and built anew",
    "a layer x 0.9",
    "a Linear x 0.9",
)


@dataclass(frozen=True)
class Taking:
    """A process that takes golden texts.

    Attributes:
        name: Under which its takes are kept.
        threads: Threads of every backend.
        takes: How often it takes them.
        cache: The folder of built artefacts.
        model: The model.
        batches: How many of the batches it takes, those of the shortest texts; None for all.
    """

    name: str
    threads: int
    takes: int
    cache: str
    model: str
    batches: int | None = None

    def run(self, work: Path, combinations: list[str]) -> None:
        """Takes what is not kept yet, in a process of its own."""
        missing = [id_ for id_ in combinations if not kept(work, self.name, id_).exists()]
        if missing:
            told = json.dumps({**asdict(self), "work": str(work), "combinations": missing})
            subprocess.run([sys.executable, __file__, "--one", told], check=True)


def kept(work: Path, name: str, id_: str) -> Path:
    """Where takes of a combination are kept."""
    return work / f"{name}.{id_}.npz"


def take_all(taking: Taking, work: Path, combinations: list[str]) -> None:
    """What one process does: takes the golden texts of combinations, and keeps the first take and all moves from it."""
    texts, name = shortest(taking.batches), taking.name
    settings = Settings(
        model=taking.model,
        combinations=tuple(combinations),
        data=("pairs",),
        threads=taking.threads,
        cache=Path(taking.cache),
    )
    session, random = Session(Plan.of(settings, Registry())), Random(name)
    others = list(load_calibration()[0])
    for combination in session.plan.combinations:
        run = session.run_of_own(combination)
        encoder = session.encoder(run)
        places = by_role(encoder, run.model, run.model.roles.spread(texts))
        found, started = [], time.process_time()
        for _ in range(taking.takes):
            found.append(take_golden(encoder, texts, places))
            encoder.encode(random.sample(others, BETWEEN), batch_size=random.choice((1, 4, 8, 24)))
        moves = [apart(found[0], each) for each in found[1:]]
        hidden = found[0].hidden if found[0].hidden is not None else np.empty((0, 0), np.float32)
        np.savez(kept(work, name, combination.id), embeddings=found[0].embeddings, hidden=hidden, moves=moves)
        seconds = time.process_time() - started
        print(f"{name} {combination}: moves {max(moves, default=0.0):.2g}, {seconds:.0f} s of CPU", flush=True)
    session.close()


def shortest(batches: int | None) -> list[str]:
    """The golden texts of the last batches, which have the shortest ones; all of them where no number is given."""
    texts = list(load_golden()[0])
    return texts if batches is None else [texts[i] for i in order(texts)[-batches * BATCH :]]


def order(texts: list[str]) -> list[int]:
    """The places of texts in the order in which they are put into batches."""
    return sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)


def apart(first: Golden, second: Golden) -> float:
    """The largest move of a golden text's embedding or hidden states; 0 where all bits are the same.

    Args:
        first: All golden texts.
        second: All of them, or those of the last batches.
    """
    if len(second.embeddings) < len(first.embeddings):
        rows = order(list(load_golden()[0]))[-len(second.embeddings) :]
        first = Golden(first.embeddings[rows], hidden=None if first.hidden is None else first.hidden[rows])
    moves = [largest_move(first, second)]
    if first.hidden is not None and second.hidden is not None:
        moves.append(largest_move(Golden(first.hidden), Golden(second.hidden)))
    return max(moves)


def read(work: Path, name: str, id_: str) -> tuple[Golden, list[float]] | None:
    """The first take of a process and the moves of its others; None where nothing is kept."""
    file = kept(work, name, id_)
    if not file.exists():
        return None
    with np.load(file) as found:
        hidden = found["hidden"] if found["hidden"].size else None
        return Golden(found["embeddings"], hidden=hidden), list(found["moves"])


def linears(weights: Iterable[str]) -> list[str]:
    """The names of the weights of a BERT's Linears, but for its pooler, which embeddings do not use."""
    return [name for name in weights if name.startswith("encoder.") and name.endswith("weight") and "Norm" not in name]


def faulty(work: Path, model: str, name: str, of_layer: str) -> str:
    """A copy of a model in which the Linears whose names begin so have their weights times 0.9."""
    folder, whole = work / "models" / name, resolve(model).path
    if not folder.exists():
        shutil.copytree(whole, folder)
        weights = load_file(whole / "model.safetensors")
        for each in linears(weights):
            if each.startswith(of_layer):
                weights[each] = weights[each] * np.float32(FAULT)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def moved_by_each(work: Path, model: str) -> dict[str, float]:
    """How far the reference's golden texts move with each Linear's loss, by its name, the least first."""
    file = work / "linears.json"
    if not file.exists():
        file.write_text(json.dumps(_moved_by_each(model), indent=1))
    moved: dict[str, float] = json.loads(file.read_text())
    return dict(sorted(moved.items(), key=lambda each: each[1]))


def _moved_by_each(folder: str) -> dict[str, float]:
    import torch
    from sentence_transformers import SentenceTransformer

    from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder

    torch.set_num_threads(1)
    texts, model = shortest(FAULTY_BATCHES), SentenceTransformer(str(resolve(folder).path), device="cpu")
    encoder = SentenceTransformerEncoder(model, Combination.parse(REFERENCE), threads=1)
    parameters, sound = dict(model[0].model.named_parameters()), take_golden(encoder, texts)
    moved = {}
    for name in linears(parameters):
        kept_weight = parameters[name].detach().clone()
        with torch.no_grad():
            parameters[name].mul_(FAULT)
            moved[name] = apart(sound, take_golden(encoder, texts))
            parameters[name].copy_(kept_weight)
    return moved


def takings(options: argparse.Namespace) -> Iterator[Taking]:
    """Every process that takes: sound ones, those with artefacts built anew, and faulty ones."""
    work, model, (usual, other) = options.work, options.model, options.threads
    root = str(cache_root())
    yield Taking("process0", usual, options.takes, root, model)
    yield Taking("threads", other, options.takes, root, model)
    # Artefacts outlive the session that built them, which may have had other threads.
    yield Taking("anew", other, 1, str(work / "cache-anew"), model)
    least = next(iter(moved_by_each(work, model)))
    faults = {"linear": least} | {name: f"encoder.layer.{name[5:]}." for name in layers(model)}
    for name, weights in faults.items():
        folder = faulty(work, model, name, weights)
        yield Taking(name, usual, 1, str(work / f"cache-{name}"), folder, FAULTY_BATCHES)
    for number in range(1, options.processes):
        yield Taking(f"process{number}", usual, options.takes, root, model)


def layers(model: str) -> list[str]:
    """Under which names the takes of faulty layers are kept, one per layer of a model."""
    config = json.loads((resolve(model).path / "config.json").read_text("utf-8"))
    return [f"layer{number}" for number in range(config["num_hidden_layers"])]


def table(options: argparse.Namespace, combinations: list[str]) -> Iterator[str]:
    """The lines of the table; a column of which nothing was measured is left out."""
    rows = [
        (f"`{id_}`", *cells(options, id_, first[0]))
        for id_ in combinations
        if (first := read(options.work, "process0", id_)) is not None
    ]
    measured = [column for column in zip(TITLES, *rows, strict=True) if any(column[1:])]
    titles, *lines = zip(*measured, strict=True)
    for line in (titles, ["---"] * len(titles), *lines):
        yield "| " + " | ".join(line) + " |"


def cells(options: argparse.Namespace, id_: str, first: Golden) -> Iterator[str]:
    """The cells of a combination's line, but for its id."""
    names = [f"process{number}" for number in range(options.processes)]
    runs = [found for name in names if (found := read(options.work, name, id_)) is not None]
    alike = sum((apart(first, own) == 0) + sum(apart(first, own) == move == 0 for move in moves) for own, moves in runs)
    yield f"{alike} of {sum(1 + len(moves) for _, moves in runs)}"
    yield shown([move for _, moves in runs for move in moves])
    yield shown([apart(first, own) for own, _ in runs[1:]])
    for group, worst in ((["threads"], max), (["anew"], max), (layers(options.model), min), (["linear"], min)):
        found = [apart(first, own[0]) for name in group if (own := read(options.work, name, id_)) is not None]
        yield shown([worst(found)] if found else [])


def shown(moves: list[float]) -> str:
    """The largest of moves."""
    if not moves:
        return ""
    return f"{max(moves):.2g}" if max(moves) else "0"


def main() -> None:
    """Measures what is missing, and prints the table."""
    options = _options()
    if options.one:
        told = json.loads(options.one)
        work, combinations = Path(told.pop("work")), told.pop("combinations")
        take_all(Taking(**told), work, combinations)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    plan = Plan.of(Settings(combinations=tuple(options.combination), data=("pairs",)), Registry())
    session = Session(plan)
    combinations = [each.id for each in plan.combinations if not session.unavailable(each)]
    if not options.print:
        for each in takings(options):
            if fnmatchcase(each.name, options.only):
                each.run(options.work, combinations)
    print("\n".join(table(options, combinations)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--combination", action="append", default=[], metavar="GLOB")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--processes", type=int, default=10, help="new processes that take the golden texts")
    parser.add_argument("--takes", type=int, default=10, help="how often each process takes them")
    parser.add_argument("--threads", type=int, nargs=2, default=(1, 2), help="of these, and of those to compare with")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "embedgate-repeats")
    parser.add_argument("--only", default="*", metavar="GLOB", help="only these processes, such as 'layer*'")
    parser.add_argument("--print", action="store_true", help="measure nothing, print the table")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
