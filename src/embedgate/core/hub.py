"""Models of the hub at a pinned commit: their folder in huggingface_hub's cache, and what else is fetched into it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from embedgate.core.errors import ModelError
from embedgate.core.formats import shipped_among, shipped_names
from embedgate.core.model_files import FINGERPRINTED, OTHER_FORMATS

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CARD = "README.md"
# How long the hub may take to answer what a session can do without.
ASKED_SECONDS = 5


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at a commit.

    Attributes:
        hub_id: Its name, `org/name`.
        commit: 40 hex digits.
    """

    hub_id: str
    commit: str

    @classmethod
    def of(cls, source: str) -> Repository | None:
        """The repository that a model was asked for by; None of any other model.

        Args:
            source: `org/name@<40 hex digits>`.
        """
        hub_id, _, commit = source.partition("@")
        pinned = HUB_ID.fullmatch(hub_id) and COMMIT.fullmatch(commit) and not Path(source).expanduser().is_dir()
        return known(hub_id, commit) if pinned else None

    def __str__(self) -> str:
        return f"{self.hub_id}@{self.commit}"

    @property
    def is_out_of_reach(self) -> bool:
        """Whether huggingface_hub is told to ask no network."""
        from huggingface_hub import constants

        return bool(constants.HF_HUB_OFFLINE)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of each of its files, as the hub lists them.

        Raises:
            ModelError: If the hub cannot be asked.
        """
        from huggingface_hub import HfApi

        try:
            listed = HfApi().list_repo_tree(self.hub_id, revision=self.commit, recursive=True)
            return {each.path: each.size for each in listed if hasattr(each, "size")}
        except Exception as error:  # the errors of connections are those of whatever huggingface_hub connects by
            raise ModelError(
                f"the files of {self} cannot be listed: {_said(error)}", "check id, commit and network"
            ) from error

    def snapshot(self) -> Path:
        """The folder of what a model's embeddings depend on, fetched where it is not in the cache.

        Raises:
            ModelError: If it cannot be fetched.
        """
        from huggingface_hub import snapshot_download

        # The card says which fewer dimensions a model is trained for.
        wanted = [CARD, *FINGERPRINTED, *(f"*/{pattern}" for pattern in FINGERPRINTED)]
        ignored = [f"{folder}/*" for folder in OTHER_FORMATS]
        try:
            return Path(
                snapshot_download(self.hub_id, revision=self.commit, allow_patterns=wanted, ignore_patterns=ignored)
            )
        except Exception as error:
            raise ModelError(
                f"{self} cannot be fetched: {_said(error)}", "check id, commit and network, or give a folder"
            ) from error

    def card(self) -> Path | None:
        """Its README.md, fetched where it is not in the cache; None where there is none.

        The hub is asked once: it is of use to few, and whoever needs the model itself asks again.

        Raises:
            ModelError: If it is not in the cache, and the hub cannot be asked.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
        from huggingface_hub.errors import RemoteEntryNotFoundError

        cached = try_to_load_from_cache(self.hub_id, CARD, revision=self.commit)
        if cached is not None:
            return Path(cached) if isinstance(cached, str) else None  # else it is known that there is none
        try:
            # hf_hub_download alone would try for half a minute where there is no network.
            get_hf_file_metadata(hf_hub_url(self.hub_id, CARD, revision=self.commit), timeout=ASKED_SECONDS)
            return Path(hf_hub_download(self.hub_id, CARD, revision=self.commit))
        except RemoteEntryNotFoundError:
            return None
        except Exception as error:
            cause = f"{CARD} of {self} is not in the cache and cannot be fetched: {_said(error)}"
            raise ModelError(cause, "check id, commit and network") from error

    def fetch(self, name: str, progress: Callable[[str], None]) -> None:
        """Fetches a file into the folder of `snapshot`.

        Args:
            name: Its path in the repository.
            progress: Told what is fetched, and its size.

        Raises:
            ModelError: If there is no such file, or it cannot be fetched.
        """
        from huggingface_hub import hf_hub_download

        by_hand = (
            f"fetch it where there is a network: hf download {self.hub_id} {shlex.quote(name)} --revision {self.commit}"
        )
        if self.is_out_of_reach:
            raise ModelError(f"{name} of {self} is not in the cache, and HF_HUB_OFFLINE is set", by_hand)
        if name not in self.sizes:
            has = ", ".join(shipped_among(self.sizes)) or f"no {shipped_names()} file"
            raise ModelError(f"{self} has no {name}", f"it has {has}")
        progress(f"fetching {name} of {self.hub_id} ({self.sizes[name] / 1e6:,.1f} MB)")
        try:
            hf_hub_download(self.hub_id, name, revision=self.commit)
        except Exception as error:
            raise ModelError(f"{name} of {self} cannot be fetched: {_said(error)}", by_hand) from error


@cache
def known(hub_id: str, commit: str) -> Repository:
    """A repository, one and the same in a process: a commit never changes, and its files are listed once."""
    return Repository(hub_id, commit)


def current_commit(hub_id: str) -> str:
    """The commit that a model's default branch is at; a word for it where the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(hub_id, timeout=ASKED_SECONDS).sha or "<40-digit commit>"
    except Exception:  # only a courtesy: without the network the form is shown without the commit
        return "<40-digit commit>"


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
