"""Hub datasets at a pinned revision, through the `datasets` library."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedgate.core.data_place import HUB
from embedgate.core.errors import DataError
from embedgate.data import beir, columns, hub_cache
from embedgate.data.asked import TABLE_OPTIONS, Asked, identified
from embedgate.data.parts import find
from embedgate.data.qrels import ROLES as JUDGEMENTS
from embedgate.data.rows import Table
from embedgate.data.spec import Spec
from embedgate.data.types import Dataset, Origin

PREFIX = HUB
SPEC = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(@(?P<commit>[^:]*))?(:(?P<config>[\w.-]*))?(:(?P<split>[\w.-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
FORM = "hub:org/name@<40-digit commit>[:config][:split]"


def load(whole: Spec) -> Dataset:
    """Loads a hub dataset; its columns are understood as those of a file.

    A dataset of judgements (columns `query-id`, `corpus-id`, `score`) is joined with the configs `corpus` and `queries`
    of the same repository, MTEB's layout. A dataset's own code is never run.

    Args:
        whole: `hub:org/name@<40 hex digits>[:config][:split]`; without a split, `test` or the only one. Its keys name
            columns by their role, and options of tables; of judgements, those of a retrieval folder but for the split.

    Raises:
        DataError: If it is not pinned, cannot be fetched, or is malformed.
    """
    of_table = Spec(whole.place, {key: value for key, value in whole.given.items() if key != beir.IGNORE})
    asked = Asked.of(of_table, columns.KEYS, TABLE_OPTIONS)
    hub_id, commit, config, split = _parsed(whole.place)
    pin = f"{PREFIX}{hub_id}@{commit}"
    table = _table(pin, config, split, exact=True)
    origin = Origin(
        name=asked.name or hub_id.rpartition("/")[2],
        source=table.source,
        version=commit,
        sha256=hashlib.sha256(table.source.encode()).hexdigest(),
    )
    if not asked.columns and find(table, *JUDGEMENTS):
        return _joined(whole, pin, split, table, origin)
    whole.refuse_unknown((*columns.KEYS, *TABLE_OPTIONS))
    return columns.read(table, origin, asked=asked)


def _parsed(spec: str) -> tuple[str, str, str | None, str | None]:
    """The id, commit, config and split of a hub dataset; refused where it is not pinned."""
    parts = SPEC.fullmatch(spec)
    if parts is None:
        raise DataError(f"{spec!r} is no hub dataset", f"write {FORM}")
    hub_id, commit = parts["id"], parts["commit"] or ""
    if not COMMIT.fullmatch(commit):
        what = f"{commit!r} can move" if commit else "it names no revision"
        rest = re.sub(r"^@[^:]*", "", spec[parts.end("id") :])
        pinned = f"{PREFIX}{hub_id}@{_current_commit(hub_id)}{rest}"
        raise DataError(f"hub dataset {hub_id} is not pinned: {what}", f"write {pinned}")
    if Path(hub_id).exists():
        raise DataError(f"the folder {hub_id} would be read in the place of {spec}", "run from another folder")
    return hub_id, commit, parts["config"] or None, parts["split"]


def _joined(whole: Spec, pin: str, split: str | None, qrels: Table, origin: Origin) -> Dataset:
    """Judgements with the corpus and the queries of the same repository."""
    whole.refuse_unknown(("name", beir.IGNORE))
    ignored = beir.ignored_by(whole.place, whole.given)
    corpus, queries = _table(pin, "corpus", split), _table(pin, "queries", split)
    sha256 = identified(origin.sha256, {beir.IGNORE: beir.said_of(ignored)})
    return beir.read(corpus, queries, qrels, replace(origin, sha256=sha256), ignore_identical_ids=ignored)


def _table(pin: str, config: str | None, split: str | None, *, exact: bool = False) -> Table:
    """The rows of a split: the one asked for; unless that is `exact`, else `test`, else the only one."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{pin}: hub datasets need the datasets library", "pip install embedgate[hub]") from error
    hub_id, _, commit = pin.removeprefix(PREFIX).partition("@")
    try:
        with hub_cache.at_commit(pin, commit, hub_id):
            splits: Any = datasets.load_dataset(hub_id, config, revision=commit)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        cause = " ".join(str(error).split())
        raise DataError(f"{pin} cannot be loaded: {cause}", "check id, commit, config and network") from error
    fallbacks = () if split and exact else ("test", *splits) if len(splits) == 1 else ("test",)
    chosen = next((name for name in (split, *fallbacks) if name in splits), None)
    if chosen is None:
        raise DataError(f"{pin} has the splits {', '.join(splits)}", f"name one: {FORM}")
    rows = splits[chosen]
    source = f"{pin}:{config or ''}:{chosen}"
    return Table(source, tuple(rows.column_names), iter(enumerate(rows, 1)), unit=" row ")


def _current_commit(hub_id: str) -> str:
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(hub_id, timeout=5).sha or "<40-digit commit>"
    except Exception:  # only a courtesy: without the network the form is shown without the commit
        return "<40-digit commit>"
