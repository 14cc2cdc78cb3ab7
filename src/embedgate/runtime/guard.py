"""Keeps trouble to the combination that has it, and gives back what that combination held.

Trouble is memory that runs out, a CUDA context that breaks, what would end the session, and a `close()` that raises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from embedgate.core import host_code
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, ResourceError, one_line
from embedgate.core.roles import Role
from embedgate.encoders import Encoder, Evidence, FloatArray, Stages
from embedgate.encoders.change import Replay
from embedgate.encoders.weights import Weight
from embedgate.runtime import resources

T = TypeVar("T")


class Guard:
    """Tells trouble in one line, and remembers a CUDA context that broke.

    Args:
        give_back: Closes whatever a combination holds.
        progress: Called with a line about an encoder that could not be closed.

    Attributes:
        give_back: Closes whatever a combination holds.
        unclosed: What encoders raised as they were closed, a line each.
    """

    def __init__(
        self, give_back: Callable[[Combination], None], progress: Callable[[str], None] = lambda _: None
    ) -> None:
        self.give_back = give_back
        self.unclosed: list[str] = []
        self._progress = progress
        self._broke: Combination | None = None

    @property
    def broken(self) -> bool:
        """Whether this process's CUDA context is broken: whatever touches it fails from then on."""
        return self._broke is not None

    def admit(self, combination: Combination) -> None:
        """Lets a combination compute.

        Raises:
            ResourceError: If it needs the CUDA context, and that is broken.
        """
        if self._broke is not None and combination.device == "cuda":
            raise ResourceError(
                f"{combination} cannot run any more: {self._broke} broke this process's CUDA context",
                f"run {self._broke} alone: --gate-combination {self._broke}",
            )

    def attempt(self, combination: Combination, doing: str, call: Callable[[], T]) -> T:
        """Calls what may run out of memory.

        Args:
            combination: What computes.
            doing: What it is doing, as in "ran out of memory while encoding".
            call: Computes.

        Raises:
            ResourceError: If memory ran out, or the CUDA context is broken; the combination is closed then.
            GateError: If it raised what would end the session.
        """
        try:
            return self.watch(combination, doing, call)
        except ResourceError as error:
            trouble = error.anew()
        # No earlier, since an exception that is being handled keeps its frames, and they their tensors.
        self.give_back(combination)
        raise trouble

    def watch(self, combination: Combination, doing: str, call: Callable[[], T]) -> T:
        """As `attempt`, but closes nothing."""
        self.admit(combination)
        try:
            return call()
        except Exception as error:
            trouble: GateError | None = self.told(error, combination, doing)
            if trouble is None:
                raise
        except BaseException as error:  # of a library: what a host project has written, was told as it was called
            passes = host_code.SKIP if doing == host_code.BUILDING else ()
            trouble = host_code.told(error, combination.id, doing, passes=passes)
            if trouble is None:
                raise
        raise trouble

    def told(self, error: BaseException, combination: Combination, doing: str) -> ResourceError | None:
        """Trouble as a person reads it; None for any other exception. Remembers a context that broke."""
        if not isinstance(error, ResourceError) and resources.kind_of(error) == "context":
            self._broke = self._broke or combination
        return resources.told(error, combination, doing)

    def close(self, encoder: Encoder, combination: Combination) -> None:
        """Closes an encoder. What it raises is its own trouble, and nobody's who has others to close or to go on with.

        Args:
            encoder: The encoder.
            combination: What it is.
        """
        try:
            encoder.close()
        except GateError as error:
            self._remember(str(error))
        except Exception as error:
            self._remember(f"close() of {combination} raised {one_line(error)}; {host_code.MEND_CLOSE}")
        except BaseException as error:
            trouble = host_code.told(error, combination.id, host_code.CLOSING)
            if trouble is None:
                raise
            self._remember(str(trouble))

    def _remember(self, line: str) -> None:
        if not self.broken and line not in self.unclosed:  # without a context, nothing on the GPU can be released
            self.unclosed.append(line)
            self._progress(line)

    def encoder(self, inner: Encoder, combination: Combination) -> Encoder:
        """The encoder, each of its calls attempted."""
        return GuardedEncoder(inner, combination, self)


class GuardedEncoder(Encoder):
    """An encoder that is closed once it ran out of memory.

    Several threads may call it, so the last to leave closes it.

    Args:
        inner: The encoder.
        combination: What it is.
        guard: Tells trouble.
    """

    def __init__(self, inner: Encoder, combination: Combination, guard: Guard) -> None:
        self.stability = inner.stability
        self.by_role = inner.by_role
        self.callers = inner.callers
        self.inputs = inner.inputs
        self._inner: Encoder | None = inner
        self._combination = combination
        self._guard = guard
        self._lock = threading.Lock()
        self._calls = 0
        self._trouble: ResourceError | None = None

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        return self._attempt("encoding", lambda inner: inner.encode(texts, batch_size=batch_size))

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts as they are used; see `Encoder.encode_as`."""
        return self._attempt("encoding", lambda inner: inner.encode_as(role, texts, batch_size))

    def evidence(self) -> Evidence:
        """Tells what really ran; see `Encoder.evidence`."""
        return self._attempt("showing what ran", lambda inner: inner.evidence())

    def stages(self, texts: Sequence[str]) -> Stages | None:
        """Intermediate results; see `Encoder.stages`."""
        return self._attempt("showing its stages", lambda inner: inner.stages(texts))

    def stages_as(self, role: Role, texts: Sequence[str]) -> Stages | None:
        """Intermediate results of texts as they are used; see `Encoder.stages_as`."""
        return self._attempt("showing its stages", lambda inner: inner.stages_as(role, texts))

    def replay(self) -> Replay:
        """What plays known faults through; see `Encoder.replay`."""
        return self._attempt("showing its modules", lambda inner: inner.replay())

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        """Token ids; see `Encoder.tokens_as`."""
        return self._attempt("showing its tokens", lambda inner: inner.tokens_as(role, texts))

    def layers_as(self, role: Role, texts: Sequence[str]) -> dict[str, list[FloatArray]] | None:
        """Hidden states after each layer; see `Encoder.layers_as`."""
        return self._attempt("showing its layers", lambda inner: inner.layers_as(role, texts))

    def weights(self) -> Mapping[str, Weight] | None:
        """Weights by name; see `Encoder.weights`."""
        return self._attempt("showing its weights", lambda inner: inner.weights())

    def is_same_as(self, other: Encoder) -> bool:
        """Whether another encoder shares its state with this one."""
        inner = other._inner if isinstance(other, GuardedEncoder) else other
        return self._inner is not None and inner is not None and self._inner.is_same_as(inner)

    def together(self) -> AbstractContextManager[None]:
        """The context of several calls; see `Encoder.together`."""
        return self._inner.together() if self._inner is not None else nullcontext()

    def close(self) -> None:
        """Releases the encoder; a second time does nothing."""
        inner, self._inner = self._inner, None
        if inner is not None:
            self._guard.close(inner, self._combination)

    def _attempt(self, doing: str, call: Callable[[Encoder], T]) -> T:
        with self._lock:
            self._calls += 1
        try:
            return self._call(doing, call)
        except ResourceError as error:
            self._trouble = error.anew()
        finally:
            with self._lock:
                self._calls -= 1
                last = not self._calls and self._trouble is not None
            if last:
                self.close()
                self._guard.give_back(self._combination)
        raise self._trouble.anew()

    def _call(self, doing: str, call: Callable[[Encoder], T]) -> T:
        inner = self._inner
        if inner is None:
            raise self._trouble or ResourceError(f"{self._combination} was closed")
        return self._guard.watch(self._combination, doing, lambda: call(inner))
