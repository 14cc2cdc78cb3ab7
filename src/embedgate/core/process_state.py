"""The parts of this process's state, beside torch's, that take more than one call to read or to put back."""

from __future__ import annotations

import ctypes
import decimal
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# pytest sets it anew for each part of a test, whatever else goes on.
_OF_PYTEST = ("PYTEST_CURRENT_TEST", b"PYTEST_CURRENT_TEST")
_SIGNALS = [each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGALRM")]


def environment() -> dict[Any, Any]:
    """The environment, as Python keeps it where it does: decoding each name and value takes 20 microseconds."""
    found = dict(getattr(os.environ, "_data", os.environ))
    for name in _OF_PYTEST:
        found.pop(name, None)
    return found


def set_environment(wanted: Mapping[Any, Any]) -> None:
    """Puts the environment back, one variable at a time."""
    now = environment()
    for name in now.keys() - wanted.keys():
        os.environ.pop(os.fsdecode(name), None)
    for name, value in wanted.items():
        if now.get(name) != value:
            os.environ[os.fsdecode(name)] = os.fsdecode(value)


def umask() -> int:
    """The umask."""
    # It cannot be read without being set: for a moment, files of other threads are their owner's alone.
    found = os.umask(0o077)
    os.umask(found)
    return found


def locales(state: str) -> str:
    """The names of a locale, of which each category may have one of its own."""
    return "/".join(dict.fromkeys(each.rpartition("=")[2] for each in state.split(";")))


def signals() -> list[Any] | None:
    """What handles signals; None in another thread than the main one, which alone can set it."""
    if threading.get_ident() != threading.main_thread().ident:
        return None
    return [signal.getsignal(each) for each in _SIGNALS]


def set_signals(wanted: Sequence[Any]) -> None:
    """Puts handlers of signals back."""
    for number, handler in zip(_SIGNALS, wanted, strict=True):
        if handler is not None:  # which Python has not set
            signal.signal(number, handler)


class _Stack(ctypes.Structure):
    """Linux's `stack_t`; see sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def stack_of_signals() -> Callable[..., Any] | None:
    """Linux's function for the stack that a thread handles signals on; None on another system."""
    return ctypes.CDLL(None, use_errno=True).sigaltstack if sys.platform == "linux" else None


def signal_stack(of: Callable[..., Any]) -> tuple[int | None, int, int]:
    """Where, how and in how many bytes this thread handles signals, by `stack_of_signals`."""
    found = _Stack()
    of(None, ctypes.byref(found))
    return found.start, found.flags, found.size


def set_signal_stack(of: Callable[..., Any], wanted: tuple[int | None, int, int]) -> None:
    """Puts back where this thread handles signals. On memory that is gone, the next one would end the process.

    Raises:
        OSError: If the system refuses.
    """
    if of(ctypes.byref(_Stack(*wanted)), None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def is_timed() -> bool:
    """Whether the timer that sends SIGALRM runs."""
    return signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)


def set_timed(on: bool) -> None:
    """Stops that timer; a timer cannot be put back."""
    if not on:
        signal.setitimer(signal.ITIMER_REAL, 0)


def decimal_context() -> tuple[Any, ...]:
    """This thread's context of decimal."""
    now = decimal.getcontext()
    return now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp


def set_decimal_context(wanted: tuple[Any, ...]) -> None:
    """Puts this thread's context of decimal back."""
    now = decimal.getcontext()
    now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp = wanted


def root_logger() -> tuple[Any, ...]:
    """What the root logger does, and with whom."""
    root = logging.root
    return root.level, root.manager.disable, tuple(root.handlers), tuple(root.filters)


def set_root_logger(wanted: tuple[Any, ...]) -> None:
    """Puts the root logger back."""
    root = logging.root
    level, root.manager.disable, root.handlers[:], root.filters[:] = wanted
    root.setLevel(level)


def set_filters(wanted: Sequence[Any]) -> None:
    """Puts the filters of warnings back."""
    warnings.resetwarnings()  # says that filters have changed, which assigning them does not
    warnings.filters[:] = wanted  # type: ignore[index]


def set_list(of: list[str], wanted: Sequence[str]) -> None:
    """Puts a list back that others hold."""
    of[:] = wanted


def set_faulthandler(on: bool) -> None:
    """Turns faulthandler on or off."""
    if on:
        faulthandler.enable(2)
    else:
        faulthandler.disable()


def collector() -> tuple[bool, tuple[int, ...]]:
    """Whether and when garbage is collected."""
    return gc.isenabled(), gc.get_threshold()


def set_collector(wanted: tuple[bool, tuple[int, ...]]) -> None:
    """Puts back whether and when garbage is collected."""
    on, threshold = wanted
    gc.set_threshold(*threshold)
    if on:
        gc.enable()
    else:
        gc.disable()


def numpy_errors() -> Any:
    """How NumPy handles errors; None where nobody has imported it: the plugin must not."""
    numpy = sys.modules.get("numpy")
    return numpy.geterr() if numpy is not None else None
