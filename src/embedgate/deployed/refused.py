"""A file beside the model that `--gate-shipped` asked for and that cannot be gated: skipped with its reason."""

from __future__ import annotations

from embedgate.core.errors import BuildError, GateError
from embedgate.core.model import Model
from embedgate.core.spec import Spec
from embedgate.deployed import files
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.sources import Source

# The weight precision of a file that cannot be read, where its name promises none.
UNREAD = "unread"


class Refused(Source):
    """Stands in the place of a file that was refused, so that the others are gated.

    Args:
        spec: How it was asked for.
        model: The model that it lies beside.
        reason: Why it was refused.
    """

    proves = False

    def __init__(self, spec: Spec, model: Model, reason: GateError) -> None:
        path = files.place_of(spec, model)
        super().__init__(spec.combination(files.name_of(path), files.promise_of(path) or UNREAD))
        self.origin = files.shown(path, model)
        self._reason = reason

    def unavailable(self) -> str:
        """Why it was refused; see `Source.unavailable`."""
        return str(self._reason)

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Builds nothing; see `Source.build`."""
        raise BuildError(self._reason.cause, self._reason.action)
