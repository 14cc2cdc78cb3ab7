"""Tolerances: the human decisions about how much loss is acceptable, read from `tolerances.toml`.

A number is looked up from special to general: the combination's own table, its weight precision's, the default; and in
each the metric's own number before `all`. The file's header says what each table means.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.files import convert, read_toml, table
from embedgate.core.judgement import ORDER
from embedgate.core.settings import bundled_baselines
from embedgate.encoders import Stability
from embedgate.encoders.registry import Registry
from embedgate.metrics import KEPT, LENGTH_KEPT, METRICS, MIXED_KEPT, ROWS_KEPT, STORED_LOSSES
from embedgate.vectors.storage import EMBEDDING_PRECISIONS, STORAGES

ALL = "all"
DEFAULT = "default"
# Of vectors truncated to fewer dimensions, whatever they are stored in.
TRUNCATED = "truncated"
# Metrics of a comparison with the reference, text by text, which must reach a floor; all others are of a task.
FLOOR_METRICS = tuple(name for name, metric in METRICS.items() if metric.kind in ("agreement", "ordering", "mixed"))
STORED_FLOORS = tuple(name for name, metric in METRICS.items() if metric.kind == "stored")
TASK_METRICS = tuple(name for name in METRICS if name not in (*FLOOR_METRICS, *STORED_FLOORS))
# Of stored vectors: floors, a graph's floor, and the largest losses against float32 vectors, as shares.
GRAPH_FLOOR = "graph_kept_at_10"
STORED = (*STORED_FLOORS, GRAPH_FLOOR, *STORED_LOSSES)
GOLDEN = ("move",)
STABILITY = ("batch", "repetition")
SLACK = ("time", "latency", "search", "memory", "bytes")
PROMISE = ("time", "latency", "products")
# How many times as fast as float32 products those of a type must be for what is promised of it to count.
PRODUCTS = 2.0

SHARES = "a tolerance is a share: at least 0 and below 1 (alpha above 0; a promise any number above 0), so 1% is 0.01"

# Tables of a scope (default, weight precision, combination), and the keys each may have.
_TABLES: dict[str, tuple[str, ...]] = {
    "retention": (ALL, *TASK_METRICS),
    "floor": FLOOR_METRICS,
    "order": ORDER,
    "golden": GOLDEN,
    "stability": STABILITY,
    "budget": SLACK,
    "promise": PROMISE,
    "drift": (ALL, *METRICS),
    "drift_inherited": (ALL, *METRICS),
}
# What `default` need not set, since files from before it was judged do not: numbers by table.
LATER = {"floor": {MIXED_KEPT, LENGTH_KEPT}, "budget": {"search"}}
# The same of `stored.default`.
LATER_STORED = {ROWS_KEPT}
_TRUNCATED = re.compile(r"\d+d-")

Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Level = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]

Table = Mapping[str, float]
Scope = Mapping[str, Table]


@dataclass(frozen=True)
class Promise:
    """How fast a combination is meant to be.

    Attributes:
        most: The largest share of the reference's time.
        products: How many times as fast as float32 products those in its type must be here for that to count.
    """

    most: float
    products: float


@dataclass(frozen=True)
class Tolerances:
    """The tolerances of a session.

    Attributes:
        path: The file they were read from.
        alpha: Level of the statistical tests: how often a loss beyond the tolerance may pass.
    """

    path: Path
    alpha: float
    _default: Scope
    _weight_precisions: Mapping[str, Scope]
    _combinations: Mapping[str, Scope]
    _upgrade: Table
    _stored: Mapping[str, Table]

    @classmethod
    def load(cls, path: Path, known: Iterable[Combination] | None = None, engines: Iterable[str] = ()) -> Tolerances:
        """Reads a file of tolerances and checks every key and number in it.

        Args:
            path: The TOML file.
            known: The combinations there are, to find a misspelt id or weight precision; embedgate's own where None.
            engines: Names of engines that a host project adds, which can have tables of `stored` of their own.

        Raises:
            GateError: If the file is missing, no TOML, or has an unknown key or a number that is no tolerance.
        """
        combinations = list(Registry() if known is None else known)
        raw = _raw(path, "copy embedgate's own baselines/tolerances.toml there")
        form = _form({c.id for c in combinations}, {c.weight_precision for c in combinations}, engines, raw)
        try:
            top = msgspec.to_builtins(convert(raw, form, GateError, str(path)))
        except GateError as error:
            raise GateError(error.cause, error.action or SHARES) from error
        return cls(
            path=path,
            alpha=top["alpha"],
            _default=_with_later(top[DEFAULT]),
            _weight_precisions=top.get("weight_precision", {}),
            _combinations=top.get("combination", {}),
            _upgrade=top["upgrade"],
            _stored=_stored_with_later(top["stored"]) if "stored" in top else _own()["stored"],
        )

    def retention(self, combination: Combination, metric: str) -> float:
        """Largest loss against the reference that is acceptable, as a share of the reference's value."""
        return self._required("retention", combination, metric)

    def floor(self, combination: Combination, metric: str) -> float:
        """Least acceptable value of an agreement metric."""
        return self._required("floor", combination, metric)

    def order_margin(self, combination: Combination) -> float:
        """Margin between two similarities of the reference up to which their order may turn round."""
        return self._required("order", combination, "margin")

    def order_similarity(self, combination: Combination) -> float:
        """Largest acceptable difference of a similarity to the reference's."""
        return self._required("order", combination, "similarity")

    def stability(self, combination: Combination, declared: Stability) -> Stability:
        """How far a text's embedding may move while the text stays the same, where the file says; else as declared."""
        batch, repetition = (self._find("stability", combination, name) for name in STABILITY)
        return Stability(
            declared.batch if batch is None else batch, declared.repetition if repetition is None else repetition
        )

    def golden_move(self, combination: Combination) -> float:
        """Largest acceptable move of a golden text's vector from the approved one, as a share of its length."""
        return self._required("golden", combination, "move")

    def slack(self, combination: Combination, what: str) -> float:
        """By how much a budget is wider than what was approved, as a share of it.

        Args:
            combination: The combination.
            what: `time`, `latency` (time at batch 1), `search`, `memory` or `bytes`.
        """
        return self._required("budget", combination, what)

    def promise(self, combination: Combination, what: str) -> Promise | None:
        """How fast a combination is meant to be, with no baseline at all; None where it promises nothing.

        Args:
            combination: The combination.
            what: `time`, or `latency` (time at batch 1).
        """
        most, products = (self._find("promise", combination, name) for name in (what, "products"))
        return None if most is None else Promise(most, PRODUCTS if products is None else products)

    def drift(self, combination: Combination, metric: str, inherited: bool) -> float:
        """Largest acceptable absolute difference to the approved baseline's value.

        Args:
            combination: The combination.
            metric: Name of the metric.
            inherited: Whether the baseline was recorded on another, more general hardware profile.
        """
        return self._required("drift_inherited" if inherited else "drift", combination, metric)

    def upgrade(self, metric: str) -> float:
        """Largest acceptable loss of a new model against the incumbent, as a share of the incumbent's value."""
        return self._upgrade.get(metric, self._upgrade[ALL])

    def engine(self, name: str) -> float:
        """Least share of what exact float32 search finds that an engine of a host project's must find."""
        found = self._stored.get(name, {}).get(KEPT)
        return self._stored[DEFAULT][KEPT] if found is None else found

    def stored(self, storage: str, metric: str) -> float:
        """Of stored vectors: the least acceptable value of a metric, or the largest acceptable loss as a share.

        Args:
            storage: Id of a storage, such as `int8-rescore4`.
            metric: One of `STORED`.
        """
        precision = TRUNCATED if _TRUNCATED.match(storage) else storage.partition("-")[0]
        for name in (storage, precision, DEFAULT):
            if metric in self._stored.get(name, {}):
                return self._stored[name][metric]
        raise AssertionError(f"load requires stored.{DEFAULT}.{metric}")

    def _required(self, table: str, combination: Combination, metric: str) -> float:
        found = self._find(table, combination, metric)
        assert found is not None, f"load requires default.{table}"
        return found

    def _find(self, table: str, combination: Combination, metric: str) -> float | None:
        scopes = (
            self._combinations.get(combination.id, {}),
            self._weight_precisions.get(combination.weight_precision, {}),
            self._default,
        )
        for scope in scopes:
            numbers = scope.get(table, {})
            for key in (metric, ALL):
                if key in numbers:
                    return numbers[key]
        return None


def _raw(path: Path, if_missing: str) -> dict[str, Any]:
    found = read_toml(path, dict[str, Any], GateError)
    if found is None:
        raise GateError(f"{path} is missing", if_missing)
    return found


def _own() -> dict[str, Any]:
    """Embedgate's own tolerances."""
    return _raw(bundled_baselines() / "tolerances.toml", "reinstall embedgate")


def _form(
    combinations: Collection[str], weight_precisions: Collection[str], engines: Iterable[str], raw: Mapping[str, Any]
) -> Any:
    """The type of a file of tolerances, in which every key is known; `default` answers every question."""

    def numbers(keys: Iterable[str], required: Collection[str] = (), kind: Any = Share) -> Any:
        return table("Numbers", dict.fromkeys(keys, kind), required)

    needed = {name: {ALL} & {*keys} or {*keys} - LATER.get(name, set()) for name, keys in _TABLES.items()}
    for name in ("stability", "promise"):  # without them, what an encoder declares holds, and nothing is promised
        del needed[name]
    kinds = {"promise": Positive}
    default = {name: numbers(keys, needed.get(name, ()), kinds.get(name, Share)) for name, keys in _TABLES.items()}
    scope = table("Scope", {name: numbers(keys, (), kinds.get(name, Share)) for name, keys in _TABLES.items()})
    named = raw.get("stored")
    truncated = (
        name for name in (named if isinstance(named, dict) else ()) if _TRUNCATED.sub("", name, count=1) in _storages()
    )
    stored = {
        **dict.fromkeys((TRUNCATED, *_storages(), *engines, *truncated), numbers(STORED)),
        DEFAULT: numbers(STORED, {*STORED} - LATER_STORED),
    }
    tables = {
        "alpha": Level,
        "upgrade": numbers((ALL, *TASK_METRICS), (ALL,)),
        DEFAULT: table("Default", default, needed),
        "weight_precision": table("WeightPrecisions", dict.fromkeys(weight_precisions, scope)),
        "combination": table("Combinations", dict.fromkeys(combinations, scope)),
        "stored": table("Stored", stored, (DEFAULT,)),
    }
    return table("Tolerances", tables, ("alpha", "upgrade", DEFAULT))


def _with_later(default: Scope) -> Scope:
    """The default scope with embedgate's own numbers for what a file from before it was judged does not set."""
    own = _own()[DEFAULT]
    later = {name: {key: own[name][key] for key in keys} | dict(default[name]) for name, keys in LATER.items()}
    return {**default, **later}


def _stored_with_later(stored: Mapping[str, Table]) -> dict[str, Table]:
    """The same of the tables of stored vectors."""
    own = _own()["stored"][DEFAULT]
    return {**stored, DEFAULT: {key: own[key] for key in LATER_STORED} | dict(stored[DEFAULT])}


def _storages() -> set[str]:
    """Returns what a table of `stored` can be about: storages as they are judged, and embedding precisions."""
    return {*EMBEDDING_PRECISIONS, *(storage.id for storage in STORAGES)}
