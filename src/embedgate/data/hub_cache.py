"""What the `datasets` library takes from its cache where the hub is out of reach: the newest, at whatever commit.

It does so whichever revision is asked for, and tells of it by its log alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedgate.core.errors import DataError

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


@contextmanager
def at_commit(source: str, commit: str) -> Iterator[list[Path]]:
    """Holds whatever is loaded inside to a commit.

    Args:
        source: What is loaded, for messages.
        commit: The commit, or its first digits, hex.

    Yields:
        The folders of the cache that were read since the hub was out of reach, as far as it went; they are
        `<dataset>/<config>/<version>/<commit>`.

    Raises:
        DataError: If the cache gave another commit.
    """
    taken, logger = _Taken(), logging.getLogger(_LOGGER)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(taken)
    logger.setLevel(logging.WARNING)
    logger.propagate = False  # it is no news that the cache was read, where it holds what was asked for
    try:
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
