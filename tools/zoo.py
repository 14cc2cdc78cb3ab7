"""Writes docs/models.md: whether each kind of model, in each combination, computes what Sentence Transformers does.

python tools/zoo.py [FAMILY ...]

Small models of each family are built (tests/helpers/families.py), and every combination that runs here encodes a few
texts in every role. They are held against `encode_query`, `encode_document` and `encode` of a `SentenceTransformer`
that is loaded by itself (tests/helpers/zoo.py). With names of families, the table of these is printed instead.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from helpers.families import FAMILIES, REFUSED, Family, bert  # noqa: E402
from helpers.zoo import LEAST_COSINE, MAX_DIFFERENCE, Compared, by_sentence_transformers, compared  # noqa: E402

from embedgate import encoders  # noqa: E402
from embedgate.core.cache import ArtefactCache  # noqa: E402
from embedgate.core.combination import Combination  # noqa: E402
from embedgate.core.errors import GateError  # noqa: E402
from embedgate.core.machine import library_versions, this_machine  # noqa: E402
from embedgate.core.model import Model, resolve  # noqa: E402
from embedgate.data import load_calibration  # noqa: E402
from embedgate.encoders import BuildContext  # noqa: E402
from embedgate.encoders.loading import load  # noqa: E402
from embedgate.encoders.registry import Registry, offers  # noqa: E402

PAGE = ROOT / "docs" / "models.md"
CALIBRATION_TEXTS = 80
LIBRARIES = ("sentence-transformers", "transformers", "torch", "torchao", "bitsandbytes", "onnxruntime", "openvino")
HEAD = """# Models

embedgate gates whatever `SentenceTransformer(folder)` loads from safetensors and embeds texts by, or refuses it in one
line. `tox run -e zoo` writes this page: it builds a small model of each family, of random weights and with a tokenizer
of its kind, and holds each combination against Sentence Transformers itself, in every role that the model has a prompt
or a route for ([prompts.md](prompts.md)).

## What works

| cell | means |
| --- | --- |
| `=` | bit-equal to Sentence Transformers in every role |
| `2e-07` | float32 in another order: the largest difference, as a share of the largest component; at most 1e-05 |
| `0.9991` | the least cosine to Sentence Transformers' of any text in any role; below 0.95, a note says why |
| `-` | this combination cannot be made of the model and is skipped; the note says why |
| **no** | it should work and does not; the note says what happens |

Weights are random, so cosines tell nothing about what a real model loses. They tell that the right layers, prompts and
tokens are computed: in these models, another pooling gives at most 0.80, and a lost prompt at most 0.85.

"""
TAIL = """
## What is refused

| model | message |
| --- | --- |
"""


class Notes:
    """Reasons by number, each once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def number(self, reason: str) -> int:
        """The number of a reason."""
        return self._known.setdefault(reason, len(self._known) + 1)

    def __iter__(self) -> Iterator[str]:
        return (f"{number}. {reason}\n" for reason, number in self._known.items())


def cell(combination: Combination, found: Compared, exact: bool) -> tuple[str, str]:
    """What the table says of a comparison, and a note where there is something to say.

    Args:
        combination: The combination.
        found: The comparison.
        exact: Whether float32 of the same backend is sound.
    """
    if found.problems:
        return "**no**", found.problems[0]
    if not np.isfinite(found.difference):
        return "**no**", f"an embedding of {combination} holds NaN"
    if combination.weight_precision == "fp32":
        told = f"{found.difference:.0e}" if found.difference else "="
        return (told, "") if found.difference <= MAX_DIFFERENCE else ("**no**", f"{combination}: {told}")
    told = f"{found.cosine:.4f}"
    if found.cosine >= LEAST_COSINE:
        return told, ""
    if exact:
        return told, f"float32 in {combination.backend} is sound, so this is what quantization loses of these weights"
    return "**no**", f"{combination}: {told}"


def row(
    family: Family, combinations: list[Combination], context_of: Callable[[Model], BuildContext], notes: Notes
) -> str:
    """A family's row of the table."""
    with tempfile.TemporaryDirectory(prefix="embedgate-zoo-") as folder:
        path = Path(folder)
        family.write(path)
        model = resolve(folder)
        context, wanted = context_of(model), by_sentence_transformers(model)
        cells, exact = [], set()
        for combination in combinations:
            started = time.perf_counter()
            if reason := encoders.unfit(model, combination, Registry()):
                told, why = "-", reason.replace(model.name, "the model")
            else:
                try:
                    found = compared(model, combination, context, wanted)
                    told, why = cell(combination, found, combination.backend in exact)
                    if combination.weight_precision == "fp32" and not why:
                        exact.add(combination.backend)
                except GateError as error:
                    told, why = "**no**", str(error).replace(folder, "FOLDER").replace(model.name, "the model")
            print(f"{family}, {combination}: {told} {why} ({time.perf_counter() - started:.0f} s)", file=sys.stderr)
            cells.append(f"{told} ({notes.number(why)})" if why else told)
    return f"| {family.name}: {family.traits} | {family.like} | {' | '.join(cells)} |\n"


def table(families: tuple[Family, ...], cache: Path) -> str:
    """The table of some families, and the notes below it."""
    texts, digest = load_calibration()

    def context(model: Model) -> BuildContext:
        """With calibration texts as the model reads them, as in a session."""
        read = model.roles.prompted(model.roles.spread(texts[:CALIBRATION_TEXTS]))
        return BuildContext(1, ArtefactCache(cache), calibration_texts=read, calibration_sha256=digest, batch_size=4)

    known = [combination for combination in offers() if combination.device == "cpu"]
    missing = {each: reason for each in known if (reason := encoders.unavailable(each, Registry()))}
    here = [each for each in known if each not in missing]
    names = [f"`{combination.id.removesuffix('-cpu')}`" for combination in here]
    notes = Notes()
    rows = [row(family, here, context, notes) for family in families]
    head = f"| family | for example | {' | '.join(names)} |\n{'| --- ' * (len(here) + 2)}|\n"
    return "".join((head, *rows, "\n", *notes)) + _circumstances(missing)


def _circumstances(missing: Mapping[Combination, str]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in library_versions(LIBRARIES).items())
    untried = "".join(f" `{combination}` was not tried: {reason}." for combination, reason in missing.items())
    return f"\nRun on {this_machine().cpu}, {versions}.{untried} No CUDA combination was tried.\n"


def refusals() -> str:
    """The rows of what is refused."""
    rows = []
    for refused in REFUSED:
        with tempfile.TemporaryDirectory(prefix="embedgate-zoo-") as folder:
            bert(Path(folder))
            refused.change(Path(folder))
            try:
                load(resolve(folder), "cpu", torch.float32)
            except GateError as error:
                rows.append(f"| {refused.name} | {str(error).replace(folder, 'FOLDER')} |\n")
            else:
                raise SystemExit(f"{refused.name} are not refused")
    return "".join(rows)


if __name__ == "__main__":
    if find_spec("PIL") is None:
        raise SystemExit("CLIP's family needs Pillow: pip install pillow")
    asked = sys.argv[1:]
    chosen = tuple(family for family in FAMILIES if not asked or family.name in asked)
    refused = refusals()
    with tempfile.TemporaryDirectory(prefix="embedgate-zoo-cache-") as cache:
        found = table(chosen, Path(cache))
    if asked:
        print(found)
    else:
        PAGE.write_text(HEAD + found + TAIL + refused, "utf-8")
        print(f"{PAGE} is written")
