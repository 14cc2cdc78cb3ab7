"""Tolerances: the human decisions about how much loss is acceptable, read from `tolerances.toml`.

A number is looked up from special to general: the combination's own table, its weight precision's, the default; and in
each the metric's own number before `all`. The file's header says what each table means.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.judgement import ORDER
from embedgate.core.settings import bundled_baselines
from embedgate.encoders import Stability
from embedgate.encoders.registry import Registry
from embedgate.metrics import METRICS, STORED_LOSSES
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

# Tables of a scope (default, weight precision, combination), and the keys each may have.
_TABLES: dict[str, tuple[str, ...]] = {
    "retention": (ALL, *TASK_METRICS),
    "floor": FLOOR_METRICS,
    "order": ORDER,
    "golden": GOLDEN,
    "stability": STABILITY,
    "budget": SLACK,
    "drift": (ALL, *METRICS),
    "drift_inherited": (ALL, *METRICS),
}
# What the default scope must answer, so that every look-up has an answer.
_NEEDS_ALL = ("retention", "drift", "drift_inherited")

# What `default` need not set, since files from before it was judged do not: table and number.
LATER = (("floor", "mixed_kept_at_10"), ("budget", "search"))
_TRUNCATED = re.compile(r"\d+d-")

Table = Mapping[str, float]
Scope = Mapping[str, Table]


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
        reader = _Reader(path)
        top = reader.table(
            read_toml(path, "copy embedgate's own baselines/tolerances.toml there"),
            "",
            ("alpha", "upgrade", "default", "weight_precision", "combination", "stored"),
        )
        default = _with_later(reader.scope(top.get("default", {}), "default"))
        upgrade = reader.numbers(top.get("upgrade", {}), "upgrade", (ALL, *TASK_METRICS))
        for name in _NEEDS_ALL:
            reader.require(ALL in default.get(name, {}), f"default.{name}.{ALL}")
        for table, names in (("floor", FLOOR_METRICS), ("order", ORDER), ("golden", GOLDEN), ("budget", SLACK)):
            for name in names:
                reader.require(name in default.get(table, {}), f"default.{table}.{name}")
        of_stored = top["stored"] if "stored" in top else _own()["stored"]
        truncated = (name for name in of_stored if _TRUNCATED.sub("", name, count=1) in _storages())
        scopes = reader.table(of_stored, "stored", (DEFAULT, TRUNCATED, *_storages(), *engines, *truncated))
        stored = {name: reader.numbers(table, _join("stored", name), STORED) for name, table in scopes.items()}
        for name in STORED:
            reader.require(name in stored.get(DEFAULT, {}), f"stored.{DEFAULT}.{name}")
        reader.require(ALL in upgrade, f"upgrade.{ALL}")
        reader.require("alpha" in top, "alpha")
        return cls(
            path=path,
            alpha=reader.number(top["alpha"], "alpha", positive=True),
            _default=default,
            _weight_precisions=reader.scopes(top, "weight_precision", {c.weight_precision for c in combinations}),
            _combinations=reader.scopes(top, "combination", {c.id for c in combinations}),
            _upgrade=upgrade,
            _stored=stored,
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
        found = self._stored.get(name, {}).get("kept_at_10")
        return self._stored[DEFAULT]["kept_at_10"] if found is None else found

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


def _own() -> dict[str, Any]:
    """Embedgate's own tolerances."""
    return read_toml(bundled_baselines() / "tolerances.toml", "reinstall embedgate")


def _with_later(default: Scope) -> Scope:
    """The default scope with embedgate's own numbers for what a file from before it was judged does not set."""
    missing = [(table, name) for table, name in LATER if name not in default.get(table, {})]
    if not missing:
        return default
    own = _own()[DEFAULT]
    return {
        **default,
        **{table: {**default.get(table, {}), name: float(own[table][name])} for table, name in missing},
    }


def _storages() -> set[str]:
    """What a table of `stored` can be about: storages as they are judged, and embedding precisions."""
    return {*EMBEDDING_PRECISIONS, *(storage.id for storage in STORAGES)}


def read_toml(path: Path, if_missing: str) -> dict[str, Any]:
    """Reads a TOML file.

    Args:
        path: The file.
        if_missing: What to do where it is missing.

    Raises:
        GateError: If it is missing, unreadable or no TOML; with the line and column of the fault.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise GateError(f"{path} is missing", if_missing) from error
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise GateError(f"{path} is no TOML: {error}") from error


def choose_from(wrong: str, known: Iterable[str]) -> str:
    """What to do about an unknown word: the one that was probably meant, or all there are."""
    names = sorted(known)
    close = get_close_matches(wrong, names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"


@dataclass(frozen=True)
class _Reader:
    """Checks the parts of one file, naming file and key in every error."""

    path: Path

    def table(self, value: object, key: str, known: Iterable[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise GateError(f"{self.path}: {key} must be a table")
        names = set(known)
        for name in value:
            if name not in names:
                raise GateError(f"{self.path}: unknown key {_join(key, name)}", choose_from(name, names))
        return value

    def scopes(self, top: dict[str, Any], key: str, known: Iterable[str]) -> dict[str, Scope]:
        found = self.table(top.get(key, {}), key, known)
        return {name: self.scope(value, _join(key, name)) for name, value in found.items()}

    def scope(self, value: object, key: str) -> Scope:
        found = self.table(value, key, _TABLES)
        return {name: self.numbers(table, _join(key, name), _TABLES[name]) for name, table in found.items()}

    def numbers(self, value: object, key: str, known: Iterable[str]) -> Table:
        found = self.table(value, key, known)
        return {name: self.number(number, _join(key, name)) for name, number in found.items()}

    def number(self, value: object, key: str, positive: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise GateError(f"{self.path}: {key} must be a number, not {value!r}")
        if not 0 <= value < 1 or (positive and value == 0):
            bound = "above 0" if positive else "at least 0"
            raise GateError(f"{self.path}: {key} is {value}", f"it is a share: {bound} and below 1, so 1% is 0.01")
        return float(value)

    def require(self, present: bool, key: str) -> None:
        if not present:
            raise GateError(f"{self.path}: {key} is missing", "set it: it answers where nothing more special does")


def _join(key: str, name: str) -> str:
    word = name if name.replace("_", "").isalnum() else f'"{name}"'
    return f"{key}.{word}" if key else word
