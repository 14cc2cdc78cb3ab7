"""Tasks of MTEB as datasets, through the `mteb` package, which pins the data of each.

Muennighoff et al. 2023, "MTEB: Massive Text Embedding Benchmark", https://github.com/embeddings-benchmark/mteb.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from embedgate.core.data_place import MTEB
from embedgate.core.errors import DataError
from embedgate.data import hub_cache, mteb_tasks
from embedgate.data.asked import refuse_name
from embedgate.data.spec import Spec
from embedgate.data.types import Dataset

PREFIX = MTEB
KEYS = ("subset", "split", "name")
FORM = "mteb:TASK[@<40-digit commit>][::subset=SUBSET,split=SPLIT]"
_PLACE = re.compile(r"mteb:(?P<task>[^@:]+)(@(?P<commit>[^:]*))?(?P<rest>:.*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# mteb pins a few tasks by a commit's first digits.
_PINNED = re.compile(r"[0-9a-f]{7,40}")
# Why types of tasks are not read that are much like those that are.
_REFUSED = {
    "InstructionReranking": "its queries come with instructions",
    "InstructionRetrieval": "its queries come with instructions",
    "MultilabelClassification": "its texts have several labels each",
    "Reranking": "each of its queries ranks candidates of its own",
}
# Names that a message gives of many.
_NAMED = 12


def load(spec: Spec) -> Dataset:
    """Loads the data of a task at the revision that mteb pins, from the cache of the hub or over the network.

    Code of a dataset's repository is never run.

    Args:
        spec: `mteb:TASK[@<40 hex digits>]` with the keys `subset`, which a task of several needs; `split`, without
            which it is `test` or the only one that mteb evaluates; and `name`.

    Returns:
        Similarity of tasks of the types STS and PairClassification, retrieval of Retrieval, labelled texts of
        Clustering and Classification. Its version is mteb's with the data's revision. Its hash covers both what was
        asked for and what came, since code of mteb transforms the data of many tasks.

    Raises:
        DataError: If there is no such task, no kind of dataset fits it, or it cannot be loaded.
    """
    asked = _PLACE.fullmatch(spec.place)
    if asked is None:
        raise DataError(f"{spec.place!r} is no task of MTEB", f"write {FORM}")
    if asked["rest"]:
        raise DataError(f"{spec.place}: subset and split of a task are keys", f"write {_with_keys(spec, asked)}")
    spec.refuse_unknown(KEYS)
    refuse_name(spec)
    task = _pinned(_fitting(_task(asked["task"])), asked["commit"])
    subset = _subset(task, spec.given.get("subset"))
    split = _split(task, spec.given.get("split"))
    chosen = mteb_tasks.Chosen(task, subset, split, version=_library().__version__, name=spec.given.get("name", ""))
    _fetch(chosen)
    return mteb_tasks.read(chosen)


def _library() -> Any:
    try:
        import mteb
    except ImportError as error:
        raise DataError("tasks of MTEB need the mteb package", "pip install embedgate[mteb]") from error
    return mteb


def _with_keys(spec: Spec, asked: re.Match[str]) -> str:
    """What was written with colons, as hub datasets are, with keys."""
    parts = dict(zip(("subset", "split"), asked["rest"].split(":")[1:], strict=False))
    keys = {key: value for key, value in parts.items() if value} | dict(spec.given)
    pinned = f"{PREFIX}{asked['task']}" + (f"@{asked['commit']}" if asked["commit"] else "")
    written = ",".join(f"{key}={value}" for key, value in keys.items())
    return f"{pinned}::{written}" if written else pinned


def _task(name: str) -> Any:
    mteb = _library()
    try:
        return mteb.get_task(name)
    except KeyError as error:
        cause, action = _unknown(name, mteb)
        raise DataError(f"mteb {mteb.__version__} has no task {name!r}{cause}", action) from error


def _unknown(name: str, mteb: Any) -> tuple[str, str]:
    """What a name that is no task's may be, and what to do."""
    classes = [each for each in vars(mteb.tasks).values() if hasattr(each, "metadata")]
    at_path = {each.metadata.dataset["path"]: each.metadata.name for each in reversed(classes)}
    if name in at_path:
        return ", but a task on that dataset", f"write {PREFIX}{at_path[name]}"
    try:
        parts = mteb.get_benchmark(name).tasks
    except KeyError:
        tasks = {each.metadata.name.lower(): each.metadata.name for each in classes}
        holding = sorted((each for each in tasks if name.lower() in each), key=len)
        near = [tasks[each] for each in (holding or difflib.get_close_matches(name.lower(), tasks))[:3]]
        return "", f"did you mean {' or '.join(near)}?" if near else "mteb.get_tasks() lists those it has"
    return f", but a benchmark of {len(parts)}", _one_of(part.metadata.name for part in parts)


def _one_of(names: Iterable[str]) -> str:
    return f"name one of its tasks: {_listed([PREFIX + name for name in names])}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _fitting(task: Any) -> Any:
    """The task, if a kind of dataset fits it."""
    name, type_ = task.metadata.name, task.metadata.type
    if task.is_aggregate:
        raise DataError(
            f"{PREFIX}{name} is made of several tasks", _one_of(part.metadata.name for part in task.metadata.tasks)
        )
    if list(task.metadata.modalities) != ["text"]:
        raise DataError(f"{PREFIX}{name} is of {' and '.join(task.metadata.modalities)}", "name a task of text alone")
    if type_ not in mteb_tasks.TYPES:
        why = _REFUSED.get(type_, "no kind of dataset fits it")
        raise DataError(
            f"{PREFIX}{name} is a task of MTEB's type {type_}: {why}",
            f"name one of the types {', '.join(mteb_tasks.TYPES)}",
        )
    return task


def _pinned(task: Any, commit: str | None) -> Any:
    """The task with its data at a commit: the one given, else mteb's own."""
    metadata = task.metadata
    name, own = metadata.name, metadata.dataset["revision"]
    if commit in (None, own) and not _PINNED.fullmatch(own):
        raise DataError(
            f"{PREFIX}{name}: mteb takes its data at {own!r}, which can move",
            f"write {PREFIX}{name}@<40-digit commit of {metadata.dataset['path']}>",
        )
    if commit is not None and commit != own and not _COMMIT.fullmatch(commit):
        raise DataError(f"{PREFIX}{name} is not pinned by {commit!r}", f"write {PREFIX}{name}@<40-digit commit>")
    data = {key: value for key, value in metadata.dataset.items() if key != "trust_remote_code"}
    task.metadata = metadata.model_copy(update={"dataset": {**data, "revision": commit or own}})
    return task


def _subset(task: Any, asked: str | None) -> str:
    subsets = task.metadata.hf_subsets
    subset = subsets[0] if asked is None and len(subsets) == 1 else asked
    if subset not in subsets:
        what = "has several subsets" if asked is None else f"has no subset {asked!r}"
        raise DataError(
            f"{PREFIX}{task.metadata.name} {what}, each a dataset of its own: {_listed(subsets)}",
            f"write {PREFIX}{task.metadata.name}::subset={subsets[0]}, or another",
        )
    task.filter_languages(None, hf_subsets=[subset])
    return str(subset)


def _split(task: Any, asked: str | None) -> str:
    name, evaluated = task.metadata.name, task.metadata.eval_splits
    fallback = "test" if "test" in evaluated else evaluated[0] if len(evaluated) == 1 else None
    split = asked or fallback
    if split is None:
        raise DataError(
            f"{PREFIX}{name} has the splits {_listed(evaluated)}", f"write {PREFIX}{name}::split={evaluated[0]}"
        )
    # mteb takes the only split of a part in the place of one that is missing, and says no word.
    if task.metadata.type == "Retrieval" and split not in evaluated:
        raise DataError(
            f"{PREFIX}{name}: mteb evaluates no split {split!r} of it, but {_listed(evaluated)}",
            f"read it by hub:{task.metadata.dataset['path']}@{task.metadata.dataset['revision']}",
        )
    task.filter_eval_splits([split])
    return str(split)


def _fetch(chosen: mteb_tasks.Chosen) -> None:
    """Has mteb load the task's data.

    Raises:
        DataError: If it cannot be had.
    """
    import datasets

    path, revision = (chosen.task.metadata.dataset[key] for key in ("path", "revision"))
    if Path(path).exists():
        raise DataError(f"the folder {path} would be read in the place of {chosen.source}", "run from another folder")
    try:
        with hub_cache.at_commit(chosen.source, revision, path) as taken:
            chosen.task.load_data()
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        cause = " ".join(str(error).split())
        raise DataError(
            f"{chosen.source} cannot be loaded: {cause}",
            f"check the network; offline, the cache must hold {path} at that commit",
        ) from error
    _refuse_unseen(chosen, taken)


def _refuse_unseen(chosen: mteb_tasks.Chosen, taken: Sequence[Path]) -> None:
    """Refuses rankings whose other parts mteb does not look for in the cache, where the hub is out of reach."""
    prefix = "" if chosen.subset == "default" else f"{chosen.subset}-"
    for part in (f"{prefix}{what}" for what in ("top_ranked", "instruction")):
        if any((folder.parents[2] / part).exists() for folder in taken):
            raise DataError(
                f"{chosen.source}: without the hub, mteb leaves out {part}, which belongs to its queries",
                "name a task of queries alone that rank the whole corpus",
            )
