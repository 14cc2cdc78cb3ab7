"""The state of this process that code of a host project may change: what there is, how to read it and put it back.

`THINGS` is the only list of it. To have embedgate look after something more, add a row. A row's `read` runs before and
after every call of such code, so it may take a microsecond and must change nothing.

Not in it is what nobody here depends on: the states of global random generators, of which embedgate uses none.
"""

from __future__ import annotations

import faulthandler
import locale
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from embedgate.core import process_state, torch_state
from embedgate.core.errors import listed

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

_STREAMS = ("stdin", "stdout", "stderr")
# The limits of a process that others in it need, as a person calls them.
_LIMITS = {
    "open files": "RLIMIT_NOFILE",
    "the size of a file": "RLIMIT_FSIZE",
    "address space": "RLIMIT_AS",
    "data": "RLIMIT_DATA",
    "processes": "RLIMIT_NPROC",
    "processor time": "RLIMIT_CPU",
}
# Half of it is 0 where denormal numbers are flushed.
_LEAST = sys.float_info.min


@dataclass(frozen=True, eq=False)
class Thing:
    """A part of the process's state.

    Attributes:
        name: What a person calls it.
        read: Reads it. What it returns can be compared, and does not change as the state does. None is a state that
            cannot be put back, and so is one that cannot be read.
        restore: Puts back what was read.
        kept: Whether an owner that sets it finds it so at its next call, as it would if it were alone.
        per_thread: Whether each thread has its own.
        ours: Whether embedgate's own encoders set it, or what they import.
        of_torch: Whether it is torch's, so that it is there once torch has been imported.
        show: A state, as a person reads it; None where its name says enough.
        then: What decides about it, where that is not what was there before.
    """

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    kept: bool = False
    per_thread: bool = False
    ours: bool = False
    of_torch: bool = False
    show: Callable[[Any], str] | None = str
    then: str = ""

    def told(self, before: Any, after: Any, known: set[str]) -> str:
        """What has changed, as a person reads it; empty where that is known, or makes no difference.

        Args:
            before: The state before.
            after: The state after.
            known: What has been told, to which this is added.
        """
        if self.name in known:
            return ""
        if self.show is None:
            known.add(self.name)
            return self.name
        shown = [_inert(self.show(state)) for state in (before, after)]
        if shown[0] == shown[1]:
            return ""
        known.add(self.name)
        return f"{self.name} from {shown[0]} to {shown[1]}"

    def own(self, before: Any, after: Any) -> Any:
        """What an owner has made of it."""
        return after

    def with_own(self, before: Any, own: Any) -> Any:
        """The state with what an owner has made of it."""
        return own


def _inert(text: str) -> str:
    """Text in one line, which does nothing to a terminal."""
    return text if text.isprintable() else ascii(text)


class Environment(Thing):
    """The environment, of which an owner changes a few variables. Values may be secret, so none is told."""

    def told(self, before: Any, after: Any, known: set[str]) -> str:
        """The names of variables that have changed and are not known yet; see `Thing.told`."""
        new = sorted({os.fsdecode(name) for name in self.own(before, after)} - known)
        known.update(new)
        return f"the environment variable{'s' * (len(new) > 1)} {listed([*map(_inert, new)], most=8)}" if new else ""

    def own(self, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[Any, Any]:
        """What an owner has set of it, None where it has deleted a variable."""
        return {name: after.get(name) for name in {*before, *after} if before.get(name) != after.get(name)}

    def with_own(self, before: Mapping[Any, Any], own: Mapping[Any, Any]) -> dict[Any, Any]:
        """The environment with what an owner has set of it."""
        return {name: value for name, value in {**before, **own}.items() if value is not None}


class Timer(Thing):
    """The timer that sends SIGALRM, of which whoever has set it before waits for the end."""

    def told(self, before: Any, after: Any, known: set[str]) -> str:
        """That it was left running; see `Thing.told`."""
        return "" if before else super().told(before, after, known)


def _on_or_off(state: bool) -> str:
    return "on" if state else "off"


def _of_torch(name: str, read: Callable[[Any], Any], restore: Callable[[Any, Any], object], **how: Any) -> Thing:
    """A thing of torch's.

    Args:
        name: What a person calls it, without torch.
        read: Reads it from torch.
        restore: Puts it back: `(torch, state) -> None`.
        **how: Any other attribute of `Thing`.
    """
    return Thing(
        f"torch's {name}",
        lambda: read(sys.modules["torch"]),
        lambda state: restore(sys.modules["torch"], state),
        **{"kept": True, "show": torch_state.plain, **how, "of_torch": True},
    )


def _limits() -> list[Thing]:
    """The limits that this system has."""
    found = ((words, getattr(resource, name, None)) for words, name in _LIMITS.items())
    return [
        Thing(
            f"the limit of {words}",
            partial(resource.getrlimit, number),
            partial(resource.setrlimit, number),
            kept=True,
            show=lambda limits: "none" if limits[0] == resource.RLIM_INFINITY else str(limits[0]),
        )
        for words, number in found
        if number is not None
    ]


def _signal_stack() -> list[Thing]:
    """The stack for signals, of which nobody is told: embedgate's own encoders set it as well.

    On CPUs with AMX, OpenVINO does, and leaves it on freed memory where two of its cores go as they came.
    """
    of = process_state.stack_of_signals()
    if of is None:
        return []
    return [
        Thing(
            "the stack for signals",
            partial(process_state.signal_stack, of),
            partial(process_state.set_signal_stack, of),
            per_thread=True,
            show=lambda _: "",
        )
    ]


THINGS: tuple[Thing, ...] = (
    _of_torch(
        "threads",
        lambda torch: torch.get_num_threads(),
        lambda torch, state: torch.set_num_threads(state),
        kept=False,
        per_thread=True,
        ours=True,
        then="--gate-threads says how many",
    ),
    _of_torch(
        "inter-op threads",
        lambda torch: torch.get_num_interop_threads(),
        lambda torch, state: torch.set_num_interop_threads(state),  # which torch takes once
        kept=False,
    ),
    _of_torch(
        "default dtype",
        lambda torch: torch.get_default_dtype(),
        lambda torch, state: torch.set_default_dtype(state),
    ),
    _of_torch(
        "default device",
        torch_state.default_device,
        torch_state.set_default_device,
        per_thread=True,
    ),
    # Before grad mode, which it sets.
    _of_torch(
        "inference mode",
        lambda torch: torch.is_inference_mode_enabled(),
        torch_state.set_inference_mode,
        kept=False,
        per_thread=True,
        show=_on_or_off,
    ),
    _of_torch(
        "grad mode",
        lambda torch: torch.is_grad_enabled(),
        lambda torch, state: torch.set_grad_enabled(state),
        per_thread=True,
        show=_on_or_off,
    ),
    _of_torch(
        "autocast", torch_state.autocast, torch_state.set_autocast, per_thread=True, show=torch_state.show_autocast
    ),
    _of_torch("deterministic algorithms", torch_state.deterministic, torch_state.set_deterministic, show=None),
    _of_torch("float32 precision", torch_state.float32, torch_state.set_float32, show=torch_state.show_float32),
    _of_torch("flags of cuDNN", torch_state.cudnn, torch_state.set_cudnn, show=None),
    _of_torch("flags of cuBLAS", torch_state.cublas, torch_state.set_cublas, show=None),
    _of_torch("kernels of attention", torch_state.kernels, torch_state.set_kernels, show=None),
    _of_torch(
        "use of oneDNN",
        lambda torch: torch._C._get_mkldnn_enabled(),
        lambda torch, state: torch._C._set_mkldnn_enabled(state),
        show=_on_or_off,
    ),
    _of_torch(
        "determinism of oneDNN",
        lambda torch: torch._C._get_mkldnn_deterministic(),
        lambda torch, state: torch._C._set_mkldnn_deterministic(state),
        show=_on_or_off,
    ),
    _of_torch(
        "engine of quantized operations",
        lambda torch: torch.backends.quantized.engine,
        torch_state.set_quantized,
    ),
    _of_torch(
        "flushing of denormal numbers",
        lambda _: _LEAST * 0.5 == 0.0,
        lambda torch, state: torch.set_flush_denormal(state),
        per_thread=True,
        show=_on_or_off,
    ),
    Environment("the environment", process_state.environment, process_state.set_environment, kept=True, ours=True),
    Thing("the working directory", os.getcwd, os.chdir, kept=True),
    Thing("the umask", process_state.umask, os.umask, kept=True, show="{:03o}".format),
    Thing(
        "the locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda wanted: locale.setlocale(locale.LC_ALL, wanted),
        kept=True,
        show=process_state.locales,
    ),
    Thing(
        "sys.path", lambda: tuple(sys.path), partial(process_state.set_list, sys.path), kept=True, ours=True, show=None
    ),
    Thing("sys.argv", lambda: tuple(sys.argv), partial(process_state.set_list, sys.argv), show=None),
    *(
        Thing(f"sys.{name}", partial(getattr, sys, name, None), partial(setattr, sys, name), show=None)
        for name in _STREAMS
    ),
    Thing("handlers of signals", process_state.signals, process_state.set_signals, per_thread=True, show=None),
    *_signal_stack(),
    *(
        [Timer("the timer of SIGALRM", process_state.is_timed, process_state.set_timed, show=_on_or_off)]
        if hasattr(signal, "setitimer")
        else []
    ),
    *(
        [
            Thing(
                "the cores that a thread may use",
                partial(os.sched_getaffinity, 0),
                partial(os.sched_setaffinity, 0),
                kept=True,
                per_thread=True,
                show=lambda cores: str(len(cores)),
            )
        ]
        if hasattr(os, "sched_setaffinity")
        else []
    ),
    *_limits(),
    Thing("the filters of warnings", lambda: tuple(warnings.filters), process_state.set_filters, ours=True, show=None),
    Thing("the root of logging", process_state.root_logger, process_state.set_root_logger, ours=True, show=None),
    Thing("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, kept=True),
    Thing("the garbage collector", process_state.collector, process_state.set_collector, kept=True, show=None),
    Thing("faulthandler", faulthandler.is_enabled, process_state.set_faulthandler, show=_on_or_off),
    Thing(
        "the context of decimal",
        process_state.decimal_context,
        process_state.set_decimal_context,
        kept=True,
        per_thread=True,
        show=None,
    ),
    Thing(
        "NumPy's handling of errors",
        process_state.numpy_errors,
        lambda wanted: sys.modules["numpy"].seterr(**wanted),
        kept=True,
        per_thread=True,
        show=None,
    ),
)
# What embedgate's own encoders leave as it is, so that others are known to have changed it.
NOT_OURS = tuple(thing for thing in THINGS if not thing.ours)
