"""Tolerances: the human decisions about how much loss is acceptable, read from `tolerances.toml`.

A number is looked up from special to general: the combination's own table, its weight precision's, the default; and in
each the metric's own number before `all`. The header of embedgate's own file says what each table means. The file of a
project holds what differs from that, and lies over it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.files import convert, read_toml, table
from embedgate.core.judgement import ORDER
from embedgate.encoders import Stability
from embedgate.encoders.registry import Registry
from embedgate.metrics import KEPT, METRICS, STORED_LOSSES
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
_TRUNCATED = re.compile(r"\d+d-")

Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Level = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]

Table = Mapping[str, float]
Scope = Mapping[str, Table]
# By their places, for example `default.retention.all`.
Numbers = Mapping[str, float]


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
        numbers: Every number that holds, by its place in the file, for example `default.retention.all`.
        beneath: Those of the file that it lies over; empty where it lies over none.
    """

    path: Path
    alpha: float
    _default: Scope
    _weight_precisions: Mapping[str, Scope]
    _combinations: Mapping[str, Scope]
    _upgrade: Table
    _stored: Mapping[str, Table]
    numbers: Numbers = field(default_factory=dict)
    beneath: Numbers = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        path: Path,
        known: Iterable[Combination] | None = None,
        engines: Iterable[str] = (),
        *,
        over: Path | None = None,
    ) -> Tolerances:
        """Reads a file of tolerances and checks every key and number in it.

        Args:
            path: The TOML file.
            known: The combinations there are, to find a misspelt id or weight precision; embedgate's own where None.
            engines: Names of engines that a host project adds, which can have tables of `stored` of their own.
            over: The file that holds where this one says nothing; None where this one answers every question.

        Raises:
            GateError: If a file is missing, no TOML, or has an unknown key or a number that is no tolerance.
        """
        combinations, beneath = list(Registry() if known is None else known), _raw(over) if over else {}
        raw = _raw(path)
        names = {c.id for c in combinations}, {c.weight_precision for c in combinations}
        form = _form(*names, engines, raw, whole=over is None)
        try:
            own = msgspec.to_builtins(convert(raw, form, GateError, str(path)))
        except GateError as error:
            raise GateError(error.cause, error.action or SHARES) from error
        top = _laid_over(own, beneath)
        return cls(
            path=path,
            alpha=top["alpha"],
            _default=top[DEFAULT],
            _weight_precisions=top.get("weight_precision", {}),
            _combinations=top.get("combination", {}),
            _upgrade=top["upgrade"],
            _stored=top["stored"],
            numbers=_flat(top),
            beneath=_flat(beneath),
        )

    @property
    def differences(self) -> list[str]:
        """What a project's file sets otherwise than embedgate's, a number each; none of embedgate's own file."""
        return changed_numbers(self.beneath, self.numbers) if self.beneath else []

    def tables_apart(self, other: Tolerances, combination: Combination) -> set[str]:
        """The tables that answer otherwise for a combination than those of other tolerances do.

        Args:
            other: The others.
            combination: The combination.

        Returns:
            Of a scope's tables those that differ, and `alpha`, `upgrade` and `stored` where these do.
        """
        apart = {table for table in _TABLES if self._scopes(combination, table) != other._scopes(combination, table)}
        whole = {"alpha": self.alpha, "upgrade": self._upgrade, "stored": self._stored}
        theirs = {"alpha": other.alpha, "upgrade": other._upgrade, "stored": other._stored}
        return apart | {name for name, value in whole.items() if value != theirs[name]}

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
        for numbers in self._scopes(combination, table):
            for key in (metric, ALL):
                if key in numbers:
                    return numbers[key]
        return None

    def _scopes(self, combination: Combination, table: str) -> list[Table]:
        """The numbers of one table that count for a combination, from special to general."""
        scopes = (
            self._combinations.get(combination.id, {}),
            self._weight_precisions.get(combination.weight_precision, {}),
            self._default,
        )
        return [scope.get(table, {}) for scope in scopes]


def changed_numbers(before: Numbers, now: Numbers) -> list[str]:
    """Numbers that are not as they were, a line each, which says where they are looser or stricter.

    Args:
        before: The numbers before, as `Tolerances.numbers` has them.
        now: The numbers now.
    """
    return [_changed(name, before, now) for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]


def _changed(name: str, before: Numbers, now: Numbers) -> str:
    was, holds = ([numbers.get(name), _holding(name, numbers)] for numbers in (before, now))
    told = " -> ".join(_shown(*each) for each in (was, holds))
    old, new = was[1], holds[1]
    if old is None or new is None or old == new:
        return f"{name}: {told}"
    looser = (new < old) if _is_floor(name) else (new > old)
    return f"{name}: {told} ({'looser' if looser else 'stricter'})"


def _shown(number: float | None, holds: float | None) -> str:
    if number is not None:
        return repr(number)
    return "unset" if holds in (None, math.inf) else f"unset ({holds!r} holds)"


def _holding(name: str, numbers: Numbers) -> float | None:
    """The number that holds where one has its place: itself, or that of a more general table; None for none."""
    for within, key in _more_general(name):
        for place in (f"{within}.{key}", f"{within}.{ALL}") if within else (key,):
            if place in numbers:
                return numbers[place]
    return math.inf if ".promise." in name else None  # nothing is promised


def _more_general(name: str) -> Iterator[tuple[str, str]]:
    """Tables in which a number is looked up, from its own on, each with the number's name in it."""
    within, _, key = name.rpartition(".")
    yield within, key
    scope, _, kind = within.rpartition(".")
    if scope.startswith("combination."):
        with suppress(ValueError, GateError):
            combination = Combination.parse(scope.removeprefix("combination."))
            yield f"weight_precision.{combination.weight_precision}.{kind}", key
    if scope.startswith(("combination.", "weight_precision.")):
        yield f"{DEFAULT}.{kind}", key
    if within.startswith("stored."):
        yield f"stored.{within.removeprefix('stored.').partition('-')[0]}", key
        yield f"stored.{DEFAULT}", key


def _is_floor(name: str) -> bool:
    """Whether a number is the least that is tolerated, not the most."""
    *tables, key = name.split(".")
    return "floor" in tables or (tables[:1] == ["stored"] and key not in STORED_LOSSES)


def _laid_over(own: Mapping[str, Any], beneath: Mapping[str, Any]) -> dict[str, Any]:
    """A table with what another holds where it says nothing; `all` says something about every key of its table."""
    both = {name: (value, beneath.get(name)) for name, value in own.items()}
    laid = {
        name: _laid_over(value, under) if isinstance(value, dict) and isinstance(under, dict) and ALL not in value
        else value
        for name, (value, under) in both.items()
    }  # fmt: skip
    return {**beneath, **laid}


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number by its place."""
    found: dict[str, float] = {}
    for name, value in tables.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _raw(path: Path) -> dict[str, Any]:
    found = read_toml(path, dict[str, Any], GateError)
    if found is None:
        raise GateError(f"{path} is missing", "copy embedgate's own baselines/tolerances.toml there")
    return found


def _form(
    combinations: Collection[str],
    weight_precisions: Collection[str],
    engines: Iterable[str],
    raw: Mapping[str, Any],
    *,
    whole: bool,
) -> Any:
    """The type of a file of tolerances, in which every key is known; a whole one's `default` answers every question."""

    def numbers(keys: Iterable[str], required: Collection[str] = (), kind: Any = Share) -> Any:
        return table("Numbers", dict.fromkeys(keys, kind), required)

    # Without stability or a promise, what an encoder declares holds, and nothing is promised.
    required = {name: keys for name, keys in _TABLES.items() if whole and name not in ("stability", "promise")}
    needed = {name: {ALL} & {*keys} or {*keys} for name, keys in required.items()}
    kinds = {"promise": Positive}
    default = {name: numbers(keys, needed.get(name, ()), kinds.get(name, Share)) for name, keys in _TABLES.items()}
    scope = table("Scope", {name: numbers(keys, (), kinds.get(name, Share)) for name, keys in _TABLES.items()})
    named = raw.get("stored")
    truncated = (
        name for name in (named if isinstance(named, dict) else ()) if _TRUNCATED.sub("", name, count=1) in _storages()
    )
    stored = {
        **dict.fromkeys((TRUNCATED, *_storages(), *engines, *truncated), numbers(STORED)),
        DEFAULT: numbers(STORED, STORED if whole else ()),
    }
    tables = {
        "alpha": Level,
        "upgrade": numbers((ALL, *TASK_METRICS), (ALL,) if whole else ()),
        DEFAULT: table("Default", default, needed),
        "weight_precision": table("WeightPrecisions", dict.fromkeys(weight_precisions, scope)),
        "combination": table("Combinations", dict.fromkeys(combinations, scope)),
        "stored": table("Stored", stored, (DEFAULT,) if whole else ()),
    }
    return table("Tolerances", tables, ("alpha", "upgrade", DEFAULT, "stored") if whole else ())


def _storages() -> set[str]:
    """Returns what a table of `stored` can be about: storages as they are judged, and embedding precisions."""
    return {*EMBEDDING_PRECISIONS, *(storage.id for storage in STORAGES)}
