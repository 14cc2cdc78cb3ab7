"""Which faults are named, how well that is shown, and in how many seconds: writes the tables of docs/causes.md.

    python benchmarks/causes.py                          # all of them, about an hour on one core
    python benchmarks/causes.py --fault cls --form inside
    python benchmarks/causes.py --missing                # those that found.json lacks
    python benchmarks/causes.py --check                  # does each fault move embeddings, and no sound encoder?
    python benchmarks/causes.py --write

Each fault is registered as a host project would, and its cause is asked as a red check asks it. What was said is kept
in `benchmarks/causes/found.json`, cell by cell; whether it is right is decided from that when the tables are written.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from causes import models, tables
from causes.check import complaint, farthest
from causes.fault import FORMS, Fault, Form, load
from causes.zoo import faults

FOUND = Path(__file__).with_name("causes") / "found.json"
PAGE = Path(__file__).parents[1] / "docs" / "causes.md"
# What came nearest, beside what was named.
NEAREST = 5


def main() -> None:
    """Asks, keeps what was said, and writes the tables."""
    options = _options()
    known = faults()
    if options.check:
        sys.exit(1 if check(_chosen(known, options), _built(options.work)) else 0)
    if not options.write:
        for fault, form, cell in asked(_chosen(known, options), _built(options.work), options.work):
            print(_line(fault, form, cell, known), flush=True)
            _keep(fault, form, cell)
    found = kept()
    print(tables.totals(known, found))
    PAGE.write_text(tables.with_tables(PAGE.read_text("utf-8"), known, found), "utf-8")


def kept() -> dict[str, dict[str, Any]]:
    """What was found, by form and fault."""
    found: dict[str, dict[str, Any]] = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
    return found


def _keep(fault: Fault, form: Form, cell: dict[str, Any]) -> None:
    found = kept()  # another process may have added cells meanwhile
    found.setdefault(form, {})[fault.name] = cell
    FOUND.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def _chosen(known: dict[str, Fault], options: argparse.Namespace) -> list[tuple[Fault, Form]]:
    found = kept()

    def is_done(fault: Fault, form: Form) -> bool:
        cell = found.get(form, {}).get(fault.name)
        if cell is None:
            return False
        return options.missing or (options.failing and tables.is_right(fault, cell, known))

    return [
        (fault, form)
        for fault in known.values()
        for form in fault.forms
        if (not options.fault or fault.name in options.fault)
        and (not options.form or form in options.form)
        and (not options.kind or fault.kind in options.kind)
        and not is_done(fault, form)
    ]


def asked(
    chosen: list[tuple[Fault, Form]], folders: dict[str, Path], work: Path
) -> Iterator[tuple[Fault, Form, dict[str, Any]]]:
    """What is said of each, in one session per model and incumbent.

    Args:
        chosen: The faults and their forms.
        folders: The models' folders.
        work: A folder for texts and artefacts.
    """
    texts = models.data(work / "data")
    for model, incumbent in dict.fromkeys((fault.model, fault.incumbent) for fault, _ in chosen):
        own = [(fault, form) for fault, form in chosen if (fault.model, fault.incumbent) == (model, incumbent)]
        context = _context(own, folders[model], folders.get(incumbent), texts, work)
        try:
            for fault, form in own:
                yield fault, form, _asked(context, fault, form)
                gc.collect()
        finally:
            context.close()


def _context(
    own: list[tuple[Fault, Form]], folder: Path, incumbent: Path | None, texts: tuple[Path, Path], work: Path
) -> Any:
    """What checks judge by, in a session at `quick` that searches nothing."""
    from embedgate.checks import Context
    from embedgate.core.settings import Settings
    from embedgate.encoders.registry import Registry
    from embedgate.runtime.plan import Plan
    from embedgate.runtime.portions import Needs

    registry = Registry()
    for fault, form in own:
        if not fault.built:
            made = lambda path, _, fault=fault, form=form: fault.encoder(load(path), form)  # noqa: E731
            registry.add(fault.combination(form), made)
    settings = Settings(
        model=str(folder),
        incumbent=None if incumbent is None else str(incumbent),
        combinations=tuple(fault.combination(form) for fault, form in own),
        data=tuple(map(str, texts)),
        depth="quick",
        threads=1,
        cache=work / "cache",
    )
    return Context(Plan.of(settings, registry), needs=Needs(searched=frozenset()))


def _asked(context: Any, fault: Fault, form: Form) -> dict[str, Any]:
    from embedgate.core.combination import Combination
    from embedgate.core.errors import GateError

    try:
        run = context.session.run(Combination.parse(fault.combination(form)))
        wall, cpu = time.perf_counter(), time.process_time()
        found = context.diagnose(run)
    except GateError as error:
        nothing = {"seconds": 0.0, "cpu_seconds": 0.0, "date": date.today().isoformat()}
        return {"layer": "error", "cause": str(error), **nothing}
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    proof = asdict(found.proof) if found.proof else {}
    tried = [(each["fault"], _rounded(each["distance"])) for each in proof.get("tried", ())[:NEAREST]]
    return {
        "layer": found.layer,
        "cause": found.cause,
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "date": date.today().isoformat(),
        **{name: _rounded(value) for name, value in proof.items() if name != "tried" and value is not None},
        **({"tried": tried} if proof else {}),
    }


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _line(fault: Fault, form: Form, cell: dict[str, Any], known: dict[str, Fault]) -> str:
    nearest = ", ".join(f"{name} {distance:g}" for name, distance in cell.get("tried", ())[:3])
    said = f"{cell['layer']}: {cell['cause']}"[:200]
    took = f"{cell['seconds']:5.1f} s ({cell['cpu_seconds']:.1f} of CPU)"
    shown = f"[{tables.evidence(cell)}; nearest: {nearest}]"
    return f"{tables.verdict(fault, cell, known):9} {fault.name:26} {form:9} {took}  {said}  {shown}"


def check(chosen: list[tuple[Fault, Form]], folders: dict[str, Path]) -> list[str]:
    """Measures whether each fault is one, and each sound encoder sound.

    Returns:
        What is wrong, one line each.
    """
    from copy import deepcopy

    from embedgate.core.model import resolve

    complaints, texts = [], models.texts()
    for name in dict.fromkeys(fault.model for fault, _ in chosen):
        model, loaded = resolve(str(folders[name])), load(folders[name])
        for fault, form in chosen:
            if fault.model != name or fault.built:
                continue
            move = farthest(fault, form, fault.encoder(deepcopy(loaded), form), loaded, model, texts)
            why = complaint(fault, move)
            print(f"{fault.name:26} {form:9} {move:8.4f}  {why}", flush=True)
            complaints += [f"{fault.name}, {form}: {why}"] if why else []
    return complaints


def _built(work: Path) -> dict[str, Path]:
    work.mkdir(parents=True, exist_ok=True)
    return models.build(work)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="append", metavar="NAME", help="only this fault (repeatable)")
    parser.add_argument("--form", action="append", choices=FORMS, help="only in this form (repeatable)")
    parser.add_argument("--kind", action="append", choices=("single", "pair", "sound"), help="only these (repeatable)")
    parser.add_argument("--missing", action="store_true", help="only what found.json does not have")
    parser.add_argument("--failing", action="store_true", help="only what found.json does not have or has wrong")
    parser.add_argument("--check", action="store_true", help="ask nothing, measure whether faults are faults")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "embedgate-causes", help="for models"
    )
    parser.add_argument("--write", action="store_true", help="ask nothing, write the tables into the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
