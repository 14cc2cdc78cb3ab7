"""What the `datasets` library takes from its cache where the hub is out of reach: the newest, at whatever commit.

It does so whichever revision is asked for, and tells of it by its log alone. Before, it asks
the hub for half a minute; so the hub is asked once, by a short request.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedgate.core.errors import DataError, one_line

# How long the hub may take to answer.
ASKED_SECONDS = 10
FILL = "load it once where there is a network; with HF_HUB_OFFLINE=1 the cache alone is asked"
_LOGGER = "datasets.packaged_modules.cache.cache"
_TAKEN = re.compile(
    r"Found the latest cached dataset configuration .* at (?P<folder>.+) \(last modified on .*", re.DOTALL
)


class _Taken(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.folders: list[Path] = []

    def emit(self, record: logging.LogRecord) -> None:
        if found := _TAKEN.fullmatch(record.getMessage()):
            self.folders.append(Path(found["folder"]))


def out_of_reach(repository: str) -> str:
    """Why the hub cannot be asked; empty where it can, or where huggingface_hub is told to ask no network.

    Args:
        repository: A dataset's, `org/name`. Whether there is such a one does not matter.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return ""
    try:
        HfApi().dataset_info(repository, timeout=ASKED_SECONDS)
    except HfHubHTTPError:  # an answer
        return ""
    except Exception as error:  # the errors of connections are those of whatever huggingface_hub connects by
        return one_line(error)
    return ""


@contextmanager
def _from_cache() -> Iterator[None]:
    """Has the libraries of the hub ask no network, as HF_HUB_OFFLINE=1 does from the start."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def _within_reach(source: str, repository: str) -> Iterator[None]:
    """Has what is loaded inside come from the cache alone where the hub is out of reach.

    Raises:
        DataError: If the cache lacks it.
    """
    why = out_of_reach(repository)
    if not why:
        yield
        return
    try:
        with _from_cache():
            yield
    except ConnectionError as error:
        raise DataError(f"{source}: the hub is out of reach ({why}), and the cache does not hold it", FILL) from error


@contextmanager
def at_commit(source: str, commit: str, repository: str) -> Iterator[list[Path]]:
    """Holds whatever is loaded inside to a commit.

    Args:
        source: What is loaded, for messages.
        commit: The commit, or its first digits, hex.
        repository: The dataset's, `org/name`.

    Yields:
        The folders of the cache that were read since the hub was out of reach, as far as it went; they are
        `<dataset>/<config>/<version>/<commit>`.

    Raises:
        DataError: If the hub is out of reach, and the cache lacks it or gave another commit.
    """
    taken, logger = _Taken(), logging.getLogger(_LOGGER)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(taken)
    logger.setLevel(logging.WARNING)
    logger.propagate = False  # it is no news that the cache was read, where it holds what was asked for
    try:
        with _within_reach(source, repository):
            yield taken.folders
    finally:
        logger.removeHandler(taken)
        logger.setLevel(level)
        logger.propagate = propagate
    for folder in taken.folders:
        if not folder.name.startswith(commit):
            raise DataError(
                f"{source}: the hub is out of reach, and the newest in the cache is of commit {folder.name}",
                f"load it once with a network, or remove {folder}",
            )
