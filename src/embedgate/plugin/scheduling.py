"""Which process of pytest-xdist runs what: a combination's tests stay in one, so that it is built once.

The marks of `--dist loadgroup` cannot say so: pytest-xdist 3.8 writes the group of a test to `Item._nodeid`, which
pytest 9.2 no longer reads, so every group is lost. Only the plugin's hook imports this module: there is a pytest-xdist
then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadGroupScheduling, LoadScheduling

from embedgate.plugin.ending import MOST_ENDS
from embedgate.plugin.xdist import combination_of

if TYPE_CHECKING:
    import pytest
    from xdist.scheduler import Scheduling
    from xdist.workermanage import WorkerController


class ByCombination(LoadGroupScheduling):  # type: ignore[misc]
    """Gives whole combinations to processes; what is about none, whole files of tests.

    Attributes:
        given_up: Tests that are not run, since their combination has ended too many processes, by what they are given
            together as.
    """

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self.given_up: dict[str, list[str]] = {}
        self._ends: Counter[str] = Counter()

    def _split_scope(self, nodeid: str) -> str:
        if combination := combination_of(nodeid):
            return combination
        group: str = super()._split_scope(nodeid)
        return group if group != nodeid else nodeid.partition("::")[0]

    def remove_node(self, node: WorkerController) -> str | None:
        """Takes over what is left of a process that ended; the test it crashed in is not run again, to crash again."""
        units = self.assigned_work.pop(node)
        left: list[tuple[dict[str, bool], str]] = [
            (unit, nodeid) for unit in units.values() for nodeid, done in unit.items() if not done
        ]
        if not left:
            return None
        unit, crashed = left[0]
        unit[crashed] = True
        self._give_up(crashed, unit)
        self.workqueue.update({scope: unit for scope, unit in units.items() if not all(unit.values())})
        for other in self.assigned_work:
            self._reschedule(other)
        return str(crashed)

    def _give_up(self, crashed: str, unit: dict[str, bool]) -> None:
        """Runs no more of a combination that has ended too many processes."""
        if not (id_ := combination_of(crashed)):
            return
        self._ends[id_] += 1
        if self._ends[id_] >= MOST_ENDS:
            left = [nodeid for nodeid, done in unit.items() if not done]
            self.given_up.setdefault(id_, []).extend(left)
            unit.update(dict.fromkeys(left, True))


class OnceCollected:
    """Decides by what was collected: by combination where there is one, else as pytest-xdist does.

    Args:
        usual: The scheduler of pytest-xdist.
        known: Ids of the combinations there are; empty to take any that reads as one.
    """

    def __init__(self, usual: LoadScheduling | LoadGroupScheduling, known: Collection[str]) -> None:
        self._chosen: Any = usual
        self._known = known
        self._collected: dict[WorkerController, Sequence[str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen, name)

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Takes what a process collected."""
        self._collected[node] = collection
        self._chosen.add_node_collection(node, collection)

    def schedule(self) -> None:
        """Gives out tests, once all processes have collected them, and again when another one has."""
        if self._chosen.collection is None and self._asks_for_combinations():
            by_combination = ByCombination(self._chosen.config, self._chosen.log)
            for node in self._chosen.nodes:
                by_combination.add_node(node)
                if node in self._collected:
                    by_combination.add_node_collection(node, self._collected[node])
            if by_combination.collection_is_completed:  # it is not where one crashed meanwhile
                self._chosen = by_combination
        self._chosen.schedule()

    def _asks_for_combinations(self) -> bool:
        found = {combination_of(nodeid) for nodeids in self._collected.values() for nodeid in nodeids} - {""}
        return any(not self._known or id_ in self._known for id_ in found)


def scheduler(config: pytest.Config, log: Any, known: Collection[str]) -> Scheduling | None:
    """The scheduler of a session.

    Args:
        config: The session's.
        log: Where pytest-xdist writes to under `--debug`.
        known: Ids of the combinations there are.

    Returns:
        None for ways of distribution that are nobody's default and say themselves what stays together.
    """
    dist = config.getoption("dist")
    if dist == "load":
        return OnceCollected(LoadScheduling(config, log), known)
    if dist == "loadgroup":
        # Whoever asks for groups gets them for combinations too that are not known here, of a folder's own conftest.
        return OnceCollected(LoadGroupScheduling(config, log), ())
    return None
