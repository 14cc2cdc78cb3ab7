"""What a session will do: known before anything heavy is imported, so that collecting tests stays quick."""

from __future__ import annotations

from dataclasses import dataclass

from embedgate.combination import Combination, Registry
from embedgate.data import bundled, load
from embedgate.data.types import Dataset
from embedgate.errors import DataError
from embedgate.settings import Settings


@dataclass(frozen=True)
class Plan:
    """The combinations and datasets of a session.

    Attributes:
        settings: What was asked for.
        registry: Every combination there is.
        combinations: Those asked for.
        datasets: Those asked for, all bundled ones where none was.
    """

    settings: Settings
    registry: Registry
    combinations: tuple[Combination, ...]
    datasets: tuple[Dataset, ...]

    @classmethod
    def of(cls, settings: Settings, registry: Registry) -> Plan:
        """Reads the datasets and selects the combinations.

        Raises:
            GateError: If a dataset cannot be read, two have one name, or a combination is unknown.
        """
        datasets = tuple(load(name) for name in settings.data or bundled())
        names = [dataset.name for dataset in datasets]
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"two datasets are named {name!r}", "rename one of the files")
        return cls(settings, registry, registry.select(settings.combinations), datasets)
