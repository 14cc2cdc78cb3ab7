"""Tolerances: the human decisions about how much loss is acceptable, read from `tolerances.toml`.

A number is looked up from special to general: the combination's own table, its weight precision's, the default; and in
each the metric's own number before `all`. The header of embedgate's own file says what each table means. The file of a
project holds what differs from that, and lies over it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
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
TEXTS = ("move",)
SAME_MACHINE = "same_machine"
GOLDEN = ("move", SAME_MACHINE)
STABILITY = ("batch", "repetition")
SLACK = ("time", "latency", "search", "memory", "bytes")
PROMISE = ("time", "latency", "products")
# How many times as fast as float32 products those of a type must be for what is promised of it to count.
PRODUCTS = 2.0

SHARES = "a tolerance is a share: at least 0 and below 1 (alpha above 0; a promise any number above 0), so 1% is 0.01"

# Tables of a scope (default, weight precision, combination), and the keys each may have.
_TABLES: dict[str, tuple[str, ...]] = {
    "retention": (ALL, *TASK_METRICS),
    "slices": (ALL, *TASK_METRICS),
    "floor": FLOOR_METRICS,
    "order": ORDER,
    "golden": GOLDEN,
    "texts": TEXTS,
    "stability": STABILITY,
    "budget": SLACK,
    "promise": PROMISE,
    "drift": (ALL, *METRICS),
    "drift_inherited": (ALL, *METRICS),
}
_TRUNCATED = re.compile(r"[1-9]\d{0,6}d-")

Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Level = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]

# The keys that lead to a number, for example `("default", "retention", "all")`; of a table, those that lead to it.
Keys = tuple[str, ...]
Numbers = Mapping[Keys, float]


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
        numbers: Every number that holds, by its keys.
        beneath: Those of the file that it lies over; empty where it lies over none.
    """

    path: Path
    numbers: Numbers
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
        own = msgspec.to_builtins(convert(raw, form, GateError, str(path), otherwise=SHARES))
        return cls(path, _flat(_laid_over(own, beneath)), _flat(beneath))

    @property
    def alpha(self) -> float:
        """Level of the statistical tests: how often a loss beyond the tolerance may pass."""
        return self.numbers["alpha",]

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
            Of a scope's tables those that differ, and `alpha`, `upgrade`, `superior` and `stored` where these do.
        """
        scopes = _scopes(combination)
        tables = {name: [(*scope, name) for scope in scopes] for name in _TABLES}
        apart = {name for name, places in tables.items() if self._within(places) != other._within(places)}
        tops = ("alpha", "upgrade", "superior", "stored")
        return apart | {top for top in tops if _below(self.numbers, top) != _below(other.numbers, top)}

    def _within(self, tables: Collection[Keys]) -> dict[Keys, float]:
        return {keys: number for keys, number in self.numbers.items() if keys[:-1] in tables}

    def retention(self, combination: Combination, metric: str) -> float:
        """Largest loss against the reference that is acceptable, as a share of the reference's value."""
        return self._required("retention", combination, metric)

    def slices(self, combination: Combination, metric: str) -> float:
        """Largest loss on a slice of a dataset that is acceptable, as an absolute difference of the metric."""
        return self._required("slices", combination, metric)

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

    def golden_move(self, combination: Combination, *, same_machine: bool = False) -> float:
        """Largest acceptable move of a golden text's vector from the approved one, as a share of its length."""
        names = GOLDEN if same_machine else ("move",)
        return min(move for name in names if (move := self._find("golden", combination, name)) is not None)

    def texts_move(self, combination: Combination) -> float:
        """Largest acceptable distance of a text's vector to the reference's, as a share of its length."""
        return self._required("texts", combination, "move")

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
        return _required(self.numbers, [("upgrade",)], metric)

    def superior(self, metric: str) -> float:
        """Gain over the incumbent that must be exceeded where better is asked; 0 where the file says nothing."""
        return _first(self.numbers, [("superior",)], metric) or 0.0

    def engine(self, name: str) -> float:
        """Least share of what exact float32 search finds that an engine of a host project's must find."""
        return _required(self.numbers, [("stored", name), ("stored", DEFAULT)], KEPT)

    def stored(self, storage: str, metric: str) -> float:
        """Of stored vectors: the least acceptable value of a metric, or the largest acceptable loss as a share.

        Args:
            storage: Id of a storage, such as `int8-rescore4`.
            metric: One of `STORED`.
        """
        return _required(self.numbers, _tables_of(storage), metric)

    def _required(self, table: str, combination: Combination, metric: str) -> float:
        found = self._find(table, combination, metric)
        assert found is not None, f"load requires {DEFAULT}.{table}"
        return found

    def _find(self, table: str, combination: Combination, metric: str) -> float | None:
        return _first(self.numbers, [(*scope, table) for scope in _scopes(combination)], metric)


def _scopes(combination: Combination) -> list[Keys]:
    """Where the tables of a combination stand, from special to general."""
    return [("combination", combination.id), ("weight_precision", combination.weight_precision), (DEFAULT,)]


def _tables_of(storage: str) -> list[Keys]:
    """The tables of a storage, from special to general."""
    precision = TRUNCATED if _TRUNCATED.match(storage) else storage.partition("-")[0]
    return [("stored", name) for name in (storage, precision, DEFAULT)]


def _first(numbers: Numbers, tables: Iterable[Keys], key: str) -> float | None:
    """The number that holds: of the first table that says something about the key, by its name or about all."""
    places = ((*table, name) for table in tables for name in (key, ALL))
    return next((numbers[place] for place in places if place in numbers), None)


def _required(numbers: Numbers, tables: Iterable[Keys], key: str) -> float:
    found = _first(numbers, tables, key)
    assert found is not None, f"load requires {DEFAULT} numbers, {key} among them"
    return found


def _below(numbers: Numbers, top: str) -> dict[Keys, float]:
    return {keys: number for keys, number in numbers.items() if keys[0] == top}


def changed_numbers(before: Numbers, now: Numbers) -> list[str]:
    """Numbers that are not as they were, a line each, which says where they are looser or stricter.

    Args:
        before: The numbers before, as `Tolerances.numbers` has them.
        now: The numbers now.
    """
    return [_changed(keys, before, now) for keys in dict.fromkeys((*before, *now)) if before.get(keys) != now.get(keys)]


def _changed(keys: Keys, before: Numbers, now: Numbers) -> str:
    (was, old), (is_now, new) = ((numbers.get(keys), _holding(keys, numbers)) for numbers in (before, now))
    told = f"{'.'.join(keys)}: {_shown(was, old)} -> {_shown(is_now, new)}"
    if old is None or new is None or old == new:
        return told
    looser = (new < old) if _is_floor(keys) else (new > old)
    return f"{told} ({'looser' if looser else 'stricter'})"


def _shown(number: float | None, holds: float | None) -> str:
    if number is not None:
        return repr(number)
    return "unset" if holds in (None, math.inf) else f"unset ({holds!r} holds)"


def _holding(keys: Keys, numbers: Numbers) -> float | None:
    """The number that holds where one has its place: itself, or that of a more general table; None for none."""
    found = _first(numbers, _looked_up_in(keys[:-1]), keys[-1])
    if found is None and keys[0] == "superior":
        return 0.0
    # Without a number, nothing is promised, and the same machine is held to no more than any other.
    is_open = keys[-2:-1] == ("promise",) or keys[-2:] == ("golden", SAME_MACHINE)
    return math.inf if found is None and is_open else found


def _looked_up_in(table: Keys) -> list[Keys]:
    """A table, and the more general ones in which what it does not say is looked up."""
    match table:
        case ("combination", id_, name):
            return [(*scope, name) for scope in _scopes(Combination.parse(id_))]
        case ("weight_precision", _, name):
            return [table, (DEFAULT, name)]
        case ("stored", storage):
            return _tables_of(storage)
    return [table]


def _is_floor(keys: Keys) -> bool:
    """Whether a number is the least that is tolerated, not the most."""
    return keys[-2:-1] == ("floor",) or keys[0] == "superior" or (keys[0] == "stored" and keys[-1] not in STORED_LOSSES)


def _laid_over(own: Mapping[str, Any], beneath: Mapping[str, Any]) -> dict[str, Any]:
    """A table with what another holds where it says nothing; `all` says something about every key of its table."""
    both = {name: (value, beneath.get(name)) for name, value in own.items()}
    laid = {
        name: _laid_over(value, under) if isinstance(value, dict) and isinstance(under, dict) and ALL not in value
        else value
        for name, (value, under) in both.items()
    }  # fmt: skip
    return {**beneath, **laid}


def _flat(tables: Mapping[str, Any], above: Keys = ()) -> dict[Keys, float]:
    """Every number by its keys."""
    found: dict[Keys, float] = {}
    for name, value in tables.items():
        found |= _flat(value, (*above, name)) if isinstance(value, dict) else {(*above, name): value}
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
    needed = {name: {ALL} & {*keys} or {*keys} - {SAME_MACHINE} for name, keys in required.items()}
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
        "superior": numbers((ALL, *TASK_METRICS)),
        DEFAULT: table("Default", default, needed),
        "weight_precision": table("WeightPrecisions", dict.fromkeys(weight_precisions, scope)),
        "combination": table("Combinations", dict.fromkeys(combinations, scope)),
        "stored": table("Stored", stored, (DEFAULT,) if whole else ()),
    }
    return table("Tolerances", tables, ("alpha", "upgrade", DEFAULT, "stored") if whole else ())


def _storages() -> set[str]:
    """Returns what a table of `stored` can be about: storages as they are judged, and embedding precisions."""
    return {*EMBEDDING_PRECISIONS, *(storage.id for storage in STORAGES)}
