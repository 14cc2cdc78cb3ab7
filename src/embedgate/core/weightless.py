"""A model that only others have the weights of, such as a hosted API's: nothing is known of it but what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedgate.core.model import NO_MODEL, Model
from embedgate.core.roles import Roles

if TYPE_CHECKING:
    from embedgate.core.similarity import Similarity


@dataclass(frozen=True)
class Weightless(Model):
    """A model without a folder: texts have the prompts that the user gives, and vectors are compared by cosine."""

    @classmethod
    def with_prompts(cls, prompts: Mapping[str, str]) -> Weightless:
        """The model whose texts have these prompts, by role."""
        digest = hashlib.sha256(repr((NO_MODEL, sorted(prompts.items()))).encode()).hexdigest()
        found = cls(Path(NO_MODEL), NO_MODEL, NO_MODEL, digest, prompts)
        _ = found.roles  # what is wrong with the prompts is told at once
        return found

    @property
    def has_folder(self) -> bool:
        """There is none; see `Model.has_folder`."""
        return False

    @cached_property
    def files(self) -> dict[str, str]:
        """There are none; see `Model.files`."""
        return {}

    @cached_property
    def tensors(self) -> str:
        """Nobody here knows; see `Model.tensors`."""
        return ""

    @property
    def normalises(self) -> bool:
        """It is not known to; see `Model.normalises`."""
        return False

    @property
    def dim(self) -> None:
        """Whoever answers knows; see `Model.dim`."""
        return None

    @property
    def module_kinds(self) -> tuple[str, ...]:
        """None are known; see `Model.module_kinds`."""
        return ()

    @property
    def pools_prompts(self) -> bool:
        """Nothing else is known; see `Model.pools_prompts`."""
        return True

    @property
    def reads_images(self) -> bool:
        """Texts are what it is asked for; see `Model.reads_images`."""
        return False

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """None are known; see `Model.trained_dims`."""
        return ()

    @property
    def truncate_dim(self) -> None:
        """Nothing is cut off here; see `Model.truncate_dim`."""
        return None

    @cached_property
    def roles(self) -> Roles:
        """The prompts that the user gave; see `Model.roles`."""
        return Roles(f"--gate-model {NO_MODEL}", {}, None, self.prompts)

    @cached_property
    def similarity(self) -> Similarity:
        """Cosine, which providers of embeddings advise; see `Model.similarity`."""
        from embedgate.core.similarity import COSINE

        return COSINE

    @cached_property
    def modules(self) -> list[dict[str, Any]]:
        """None are known; see `Model.modules`."""
        return []
