"""How fast are properties looked into, and what is met on the way? Prints the tables of `docs/properties.md`.

    python benchmarks/properties.py                           # as usual, about five minutes
    python benchmarks/properties.py --depth nightly --seed 1  # as long as `nightly`, some hours
    python benchmarks/properties.py --combination 'torch-*'

For every combination: generated cases per second, reversed orders, the furthest a similarity moved, and the
furthest an embedding moved by what was varied. Then the smallest sentences that torch's per-tensor dynamic int8 breaks,
a model that int8 really damages.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from separation import BAD, per_tensor

from embedgate.checks import Context
from embedgate.core.cache import cache_root
from embedgate.core.combination import Combination
from embedgate.core.depth import DEPTHS, STANDARD
from embedgate.core.embeddings import Embeddings
from embedgate.core.judgement import Judgement
from embedgate.core.settings import Settings
from embedgate.encoders.registry import Registry
from embedgate.metrics.ordering import margins
from embedgate.properties.explore import PROFILES
from embedgate.properties.variations import VARIATIONS
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session
from embedgate.sentences import fixed_cases
from embedgate.sentences.relations import RELATIONS

DAMAGED = BAD[0]
SEEDS = 10
RELATION_CASES = 6_000


def main() -> None:
    """Looks, measures and prints."""
    parser = argparse.ArgumentParser(description="properties of every combination, as tables")
    parser.add_argument("--depth", choices=DEPTHS, default=STANDARD)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--combination", action="append", default=[], metavar="GLOB")
    chosen = parser.parse_args()
    registry = Registry()
    registry.add(DAMAGED, per_tensor)
    settings = Settings(
        combinations=tuple(chosen.combination),
        data=("pairs",),
        cache=cache_root(),
        depth=chosen.depth,
        seed=chosen.seed,
    )
    context = Context(Plan.of(settings, registry), progress=print)
    session = context.session
    rows, moves = [], []
    for combination in session.plan.combinations:
        if session.unavailable(combination) or combination.id == DAMAGED:
            continue
        rows.append(ordering(context, combination))
        found = {name: context.ask("invariance", combination, name) for name in VARIATIONS}
        moves.append([combination.id, *(shown(judgement) for judgement in found.values()), declared(found)])
        print("| " + " | ".join(rows[-1]) + " |\n| " + " | ".join(moves[-1]) + " |")
    cases = PROFILES[chosen.depth].rounds * PROFILES[chosen.depth].cases
    print(f"\n{cases} cases per combination\n")
    table(
        ("combination", "cases/s", "reversed of 600", "largest reversed margin", "largest move of a similarity"), rows
    )
    table(("combination", *VARIATIONS, "declared"), moves)
    table(("relation", "the reference agrees", "its median margin"), relations(session))
    damaged(registry)
    session.close()


def ordering(context: Context, combination: Combination) -> list[str]:
    """One combination's line about order."""
    if combination.is_reference:
        context.session.run(combination)
        return [combination.id, "", "", "", ""]
    similarity = context.ask("ordering.similarity", combination)  # its reference's embeddings are known from then on
    flips = context.ask("ordering.kept", combination, "order_kept")
    context.session.run(combination)
    context.session._generated.clear()
    started = time.perf_counter()
    order = context.ask("ordering.margin", combination)
    seconds = time.perf_counter() - started
    return [
        combination.id,
        f"{(order.n or 0) / seconds:.0f}",
        f"{round((1 - (flips.value or 0)) * (flips.n or 0))}",
        shown(order),
        shown(similarity),
    ]


def relations(session: Session) -> list[list[str]]:
    """How often the reference finds the nearer text nearer, and by how much, per relation."""
    cases = fixed_cases(RELATION_CASES)
    run = session.run(session.plan.reference)
    texts = list(dict.fromkeys(text for case in cases for text in case.texts))
    arm = Embeddings(texts, session.embed(run, texts))
    found = margins(*(arm.of(column) for column in zip(*(case.texts for case in cases), strict=True)))
    rows = []
    for relation in RELATIONS:
        own = found[[case.relation == relation for case in cases]]
        rows.append([relation, f"{(own > 0).mean():.0%}", f"{np.median(own):+.3f}"])
    return rows


def damaged(registry: Registry) -> None:
    """The smallest sentences that a damaged model breaks, from several seeds."""
    combination = Combination.parse(DAMAGED)
    print(f"The smallest sentences {DAMAGED} breaks:")
    known = set()
    for seed in range(SEEDS):
        settings = Settings(combinations=(DAMAGED,), data=("pairs",), cache=cache_root(), seed=seed)
        context = Context(Plan.of(settings, registry))
        for check in ("ordering.margin", "ordering.similarity"):
            judgement = context.ask(check, combination)
            if judgement.verdict == "fail" and judgement.example not in known:
                known.add(judgement.example)
                print(f"seed {seed}: {judgement.message}")
                print("\n".join(f"  {line}" for line in judgement.details))
        context.close()


def declared(found: dict[str, Judgement]) -> str:
    """The widest bound that the encoder declares."""
    return f"{max(judgement.limit or 0 for judgement in found.values()):g}"


def shown(judgement: Judgement) -> str:
    """The largest value met, bold where it is beyond the limit."""
    text = f"{judgement.value or 0:.1e}" if judgement.value else "0"
    return f"**{text}**" if judgement.verdict == "fail" else text


def table(titles: tuple[str, ...], rows: list[list[str]]) -> None:
    """Prints a Markdown table."""
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    print("\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")


if __name__ == "__main__":
    main()
