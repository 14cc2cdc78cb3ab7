"""Facts about what a session ran on, as reports tell them."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embedgate.approved.history import SERVED, row
from embedgate.checks.approvals import Approvals
from embedgate.checks.base import BaseBar
from embedgate.checks.context import Context
from embedgate.checks.upgrade_facts import UpgradeFacts
from embedgate.core.combination import Combination
from embedgate.core.depth import NIGHTLY
from embedgate.core.errors import BaselineError
from embedgate.core.roles import DOCUMENT, QUERY, Role, Roles
from embedgate.data.types import Dataset, Texts
from embedgate.deployed.files import not_among
from embedgate.encoders.sources import described
from embedgate.metrics import METRICS, metrics_of
from embedgate.report.agreement import NEAREST
from embedgate.report.facts import INDEX, TREND, UPGRADE, names_together


def facts_of(context: Context, *, ended: bool = True) -> dict[str, Any]:
    """Returns the facts about what a session ran on, as JSON values.

    Args:
        context: The session's.
        ended: Whether all has run. Before, nothing is measured for them: what is new, and what is stale, is left out.
    """
    session, plan, settings = context.session, context.plan, context.settings
    roles, sources = plan.model.roles, plan.candidates
    known = set(plan.registry)
    # A file or server that is to be replaced is no combination of this session's.
    ran, on_cpu = [c for c in session.ran() if c in known], [c for c in plan.combinations if c.device == "cpu"]
    whose = next((c for c in ran if c.device == "cuda"), Combination.parse("torch-fp32-cpu"))
    # Where nothing ran on the GPU, it is not asked for its name.
    profiles = {c.id: context.profile_of(c).name for c in (*ran, *on_cpu)}
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "model": {"name": plan.model.name, "source": plan.model.source, "fingerprint": plan.model.fingerprint},
        "profile": names_together(profiles[c.id] for c in ran) or context.profile_of(whose).name,
        "profiles": profiles,
        "machine": asdict(session.machine_of(whose)),
        "libraries": session.libraries_of(whose),
        "threads": session.threads,
        "batch_size": settings.batch_size,
        "baselines": _from_here(settings.baselines),
        "depth": settings.depth,
        "by_night": [] if settings.depth == NIGHTLY else [combination.id for combination in plan.by_night],
        "strict": settings.strict.value,
        "alpha": context.alpha,
        "family": context.families.get("quality", 1),
        "families": dict(context.families),
        "datasets": [
            {
                "name": d.name,
                "kind": d.kind,
                "version": d.version,
                "sha256": d.sha256,
                "weight": d.weight,
                "items": len(d),
                "texts": len(d.texts()),
                "notes": [*d.notes, *d.repeated(), *_without_role(d, roles)],
                "prompts": {name: _prompt(roles[name]) for name in d.roles},
            }
            for d in plan.datasets
        ],
        "left_data": dict(plan.left_data),
        "texts": len(session.texts.inputs),
        "unused_prompt": roles.unused(),
        "candidates": [described(source) for source in sources if source.combination in ran],
        "not_gated": list(not_among((source.origin for source in sources), plan.model)),
        "recorded": dict(session.recorded),
        "changed": context.changes,
        "incumbent": plan.incumbent.fingerprint if plan.incumbent is not None else None,
        INDEX: context.of(UpgradeFacts).index if ended else None,
        UPGRADE: context.of(UpgradeFacts).to_json() if ended else None,
        "no_baselines": "" if settings.baselines_folder.is_dir() else _from_here(settings.baselines),
        "tolerances": context.tolerances.differences,
        "expectations": context.expectations.to_json(),
        "base": context.of(BaseBar).facts(),
        "stale_baseline": _stale(context) if ended else [],
        TREND: {SERVED: _served(context, ran)},  # once for all processes, git is asked of these
        "seconds": session.seconds(),
    }


def _stale(context: Context) -> list[str]:
    return [f"{key.combination} {key.dataset} {key.metric}" for key in context.of(Approvals).stale_keys()]


def _without_role(dataset: Dataset, roles: Roles) -> Iterator[str]:
    """A note of texts that are encoded as by plain `encode`, where the model encodes queries or documents otherwise."""
    if isinstance(dataset, Texts) and not dataset.role:
        others = [role for role in (QUERY, DOCUMENT) if not roles[role].same_as(roles[dataset.role])]
        if others:
            which = " or ".join(f"role={role}" for role in others)
            yield f"encoded without a role, as encode does; {which} behind its name encodes these texts as such"


def _served(context: Context, ran: Iterable[Combination]) -> list[list[str]]:
    """What is approved of the metrics that stand for datasets in reports."""
    approvals = context.of(Approvals)
    found: list[list[str]] = []
    headlines = [(d, m) for d in context.plan.datasets for m in metrics_of(d.kind) if METRICS[m].heading]
    headlines += [(dataset, NEAREST) for dataset in context.plan.unlabelled]
    for combination in ran:
        with suppress(BaselineError):  # the check of baselines tells of it
            of = [(dataset, approvals.find(combination, dataset.name, metric)) for dataset, metric in headlines]
            found += [row(a) for dataset, a in of if a and a.entry.key.dataset_sha256 == dataset.sha256]
    return found


def _from_here(folder: Path | None) -> str:
    """A folder as seen from here; empty for none."""
    if folder is None:
        return ""
    try:
        return Path(os.path.relpath(folder)).as_posix()
    except ValueError:  # of Windows, from one drive to another
        return folder.as_posix()


def _prompt(role: Role) -> dict[str, Any]:
    return {"text": role.prompt, "name": role.prompt_name if role.prompt else "", "given": role.given}
