"""Which faults are red, by which checks, and what is sound is green: writes the tables of docs/faults.md.

    python benchmarks/eyes.py --tree before                       # all of them at `quick`: an hour on one core
    python benchmarks/eyes.py --tree before --depth standard --missing
    python benchmarks/eyes.py --tree after --fault one-buffer/int8 --fault cls
    python benchmarks/eyes.py --tree after --weak                 # those that passed before, or hung by one check
    python benchmarks/eyes.py --tree after --sound 10             # all sound combinations in ten sessions, each unlike
    python benchmarks/eyes.py --sound 10 --data few.jsonl --checks "losses_show or depends_on"  # on little data
    python benchmarks/eyes.py --write

Each fault is registered as a host project would, and embedgate's own suites are asked about it, without what needs an
approval, a clock or an index. What was found is kept in `benchmarks/eyes/found-<tree>.json`, cell by cell.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from causes import models
from eyes import tables
from eyes.sessions import NAMES, Asked, ask, ask_golden, ask_sound
from eyes.zoo import PROMISES, Case, cases

FOLDER = Path(__file__).with_name("eyes")
PAGE = Path(__file__).parents[1] / "docs" / "faults.md"
# Cases of one session: the reference is encoded once for all of them.
TOGETHER = 12
# What sound sessions take turns with.
BATCH_SIZES, THREADS = (32, 8, 64), (1, 2)


def main() -> None:
    """Asks, keeps what was found, and writes the tables."""
    options = _options()
    known = cases()
    if options.sound:
        for session in sound_sessions(options):
            print(json.dumps(session), flush=True)
            keep_session(options.tree, session)
    elif not options.write:
        for name, cell in asked(_chosen(known, options), options):
            print(_line(name, cell), flush=True)
            keep(options.tree, options.depth, name, cell)
    found = kept()
    print(tables.sums(known, found))
    PAGE.write_text(tables.with_tables(PAGE.read_text("utf-8"), known, found), "utf-8")


def kept() -> dict[str, dict[str, Any]]:
    """What was found: by tree, depth and case, and by tree, the sessions of what is sound."""
    files = {tree: FOLDER / f"found-{tree}.json" for tree in tables.TREES}
    return {tree: json.loads(file.read_text("utf-8")) for tree, file in files.items() if file.exists()}


def keep(tree: str, depth: str, name: str, cell: Mapping[str, Any]) -> None:
    """Keeps what was found of a case."""
    found = kept().get(tree, {})  # another process may have added cells meanwhile
    found.setdefault(depth, {})[name] = dict(cell)
    _write(tree, found)


def keep_session(tree: str, session: Mapping[str, Any]) -> None:
    """Keeps what was found in a session of what is sound."""
    found = kept().get(tree, {})
    found.setdefault("sessions", []).append(dict(session))
    _write(tree, found)


def _write(tree: str, found: Mapping[str, Any]) -> None:
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / f"found-{tree}.json").write_text(text + "\n", "utf-8")


def _chosen(known: Mapping[str, Case], options: argparse.Namespace) -> list[Case]:
    found = kept()
    done = found.get(options.tree, {}).get(options.depth, {})

    def is_weak(case: Case) -> bool:
        before = tables.best(found, "before", case)
        return before is None or case.is_sound or not tables.is_seen(before[1]) or tables.seen_alone(before[1])

    return [
        case
        for case in known.values()
        if (not options.fault or {case.fault.name, case.name} & {*options.fault})
        and (not options.promise or case.promise in options.promise)
        and not (options.missing and case.name in done)
        and not (options.weak and not is_weak(case))
    ]


def asked(chosen: list[Case], options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is found of each, session by session."""
    options.work.mkdir(parents=True, exist_ok=True)
    folders = models.build(options.work)
    is_golden = options.depth == tables.GOLDEN
    how, question = Asked("quick" if is_golden else options.depth, options.work), ask_golden if is_golden else ask
    for model in dict.fromkeys(case.fault.model for case in chosen):
        own = [case for case in chosen if case.fault.model == model]
        for start in range(0, len(own), options.together):
            yield from question(how, folders[model], own[start : start + options.together]).items()


def sound_sessions(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What sessions of embedgate's own combinations find, each with another seed, batch size and number of threads."""
    options.work.mkdir(parents=True, exist_ok=True)
    first = len(kept().get(options.tree, {}).get("sessions", ()))
    for seed in range(first, first + options.sound):
        size, threads = BATCH_SIZES[seed % len(BATCH_SIZES)], THREADS[seed % len(THREADS)]
        how = Asked(
            options.depth, options.work, seed=seed, batch_size=size, threads=threads, data=tuple(options.data or ())
        )
        yield ask_sound(how, options.combination or (), options.checks)


def _line(name: str, cell: Mapping[str, Any]) -> str:
    count = f"{len(cell['red'])} red, {len(cell['inconclusive'])} inconclusive of {cell['judged']}"
    shown = ", ".join(cell["red"][:6]) or "; ".join(cell["errors"])[:300]
    return (
        f"{name:28} {count}  {cell.get('harm', {})}  {shown}  [{'; '.join(cell['causes'])[:160]}] {cell.get('seconds')}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", choices=tables.TREES, default="after", help="whose checks these are")
    parser.add_argument(
        "--depth",
        choices=(*tables.DEPTHS, tables.GOLDEN),
        default="quick",
        help="how much is asked; `golden`: golden texts alone, approved of the same without its fault",
    )
    parser.add_argument(
        "--fault", action="append", metavar="NAME", help="only this, as `cls` or as `cls/int8` (repeatable)"
    )
    parser.add_argument("--promise", action="append", choices=PROMISES, help="only as this (repeatable)")
    parser.add_argument("--missing", action="store_true", help="only what was not found yet at this depth")
    parser.add_argument(
        "--weak", action="store_true", help="only what passed before or hung by one check, and what is sound"
    )
    parser.add_argument("--together", type=int, default=TOGETHER, help="cases of one session")
    parser.add_argument("--sound", type=int, default=0, metavar="N", help="N more sessions of what is sound, no faults")
    parser.add_argument("--combination", action="append", metavar="GLOB", help="with --sound: only these (repeatable)")
    parser.add_argument("--data", action="append", metavar="DATA", help="with --sound: on this data (repeatable)")
    parser.add_argument("--checks", default=NAMES, metavar="NAMES", help="with --sound: only tests of these names")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "embedgate-eyes", help="for models")
    parser.add_argument("--write", action="store_true", help="ask nothing, write the tables into the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
