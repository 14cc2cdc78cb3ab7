"""pytest-benchmark without a session."""

from __future__ import annotations


class Timed:
    """pytest-benchmark's fixture, as far as it is used."""

    def __init__(self, disabled: bool = False) -> None:
        self.disabled, self.extra_info = disabled, {}

    def pedantic(self, target, *, setup, teardown, rounds):
        for _ in range(0 if self.disabled else rounds):
            setup()
            target()
            teardown()
