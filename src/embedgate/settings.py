"""What a session was asked to do, apart from pytest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from embedgate.model import DEFAULT_MODEL


@dataclass(frozen=True)
class Settings:
    """The options of one session.

    Attributes:
        model: The model to gate: a folder, `org/name@<commit>`, or the bundled one.
        incumbent: The model it is to replace; None where there is none.
        combinations: Globs over combination ids; empty for all.
        data: Datasets to judge on: bundled names, paths or pinned hub ids; empty for all bundled ones.
        profile: Name of the hardware profile; None to detect it.
        baselines: Folder of the approved baselines, tolerances and expected failures.
        threads: Threads every backend uses; None for all usable cores.
        batch_size: Texts per batch.
        update: Whether to record what is measured as the new baseline.
        reason: Why, where `update`.
        update_in_ci: Whether `update` is allowed where the environment says CI.
        strict: Whether inconclusive and unavailable fail.
        report: Folder for `report.json` and `report.md`; None for none.
        cache: Folder of built artefacts; None for the user's cache folder.
        invocation: The arguments pytest was called with, to name the command that approves.
    """

    model: str = DEFAULT_MODEL
    incumbent: str | None = None
    combinations: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    profile: str | None = None
    baselines: Path | None = None
    threads: int | None = None
    batch_size: int = 32
    update: bool = False
    reason: str = ""
    update_in_ci: bool = False
    strict: bool = False
    report: Path | None = None
    cache: Path | None = None
    invocation: tuple[str, ...] = ()

    @property
    def baselines_folder(self) -> Path:
        """The folder of the approved baselines, embedgate's own where none was given."""
        return self.baselines or bundled_baselines()


def bundled_baselines() -> Path:
    """The folder of embedgate's own baselines: `baselines/` in a checkout."""
    return Path(str(resources.files("embedgate.baselines")))
