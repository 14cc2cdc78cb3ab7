"""A GGUF file, as llama.cpp runs it: from the model's folder, or from anywhere.

Tokenizer and pooling are the file's own, since both ship with it. `header` reads the file without llama.cpp, `llama` is
all that calls it, and `encoder` goes on with the model's modules after the pooling.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.model import Model
from embedgate.core.model_files import sha256_of
from embedgate.core.spec import PROMISE, Spec
from embedgate.deployed import files
from embedgate.deployed.gguf.header import Header, read_header
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.sources import Source

# Whether llama.cpp rearranges weights for the CPU, as `--no-repack` tells its server not to.
REPACK = "repack"
ON, OFF = "on", "off"


def source(spec: Spec, model: Model) -> Source:
    """What runs a GGUF file.

    Raises:
        GateError: If there is no such file, or it is no GGUF file of a model that gives embeddings.
    """
    spec.refuse_unknown((REPACK,))
    path = files.find(spec, model)
    origin = files.shown(path, model)
    header = read_header(path, origin)
    combination = spec.combination(files.name_of(path), files.promise_of(path) or header.weight_precision)
    if combination.device != "cpu":
        raise GateError(f"{origin}: embedgate runs llama.cpp on the CPU alone", "leave out device=cuda")
    repacks = spec.one_of(REPACK, (ON, OFF), ON) == ON
    return GgufFile(path, header, combination, origin, repacks=repacks, told=PROMISE in spec.given)


def beside(_: Path) -> list[str]:
    """Nothing: a file holds its weights."""
    return []


class GgufFile(Source):
    """Runs a GGUF file by llama.cpp.

    Args:
        path: The file.
        header: What it says of itself.
        combination: What it is called.
        origin: The path as a person reads it.
        repacks: Whether llama.cpp may rearrange weights for this CPU.
        told: Whether the weight precision was told, and not only read from the file or its name.
    """

    def __init__(
        self, path: Path, header: Header, combination: Combination, origin: str, *, repacks: bool, told: bool
    ) -> None:
        super().__init__(combination)
        self.origin = origin
        self._path = path
        self._header = header
        self._repacks = repacks
        self._told = told

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The hash of the file; see `Source.identity`."""
        return {"sha256": sha256_of(self._path)}

    def unavailable(self) -> str | None:
        """Why llama.cpp cannot run it here; see `Source.unavailable`."""
        if find_spec("llama_cpp") is None:
            return "llama-cpp-python, which runs GGUF files, is not installed; pip install 'embedgate[gguf]'"
        return None

    def unfit(self, model: Model) -> str | None:
        """Why it cannot be this model's; see `Source.unfit`."""
        return files.unfit(model)

    def prepare(self) -> None:
        """Imports llama.cpp; see `Source.prepare`."""
        if self.unavailable() is None:
            import embedgate.deployed.gguf.encoder  # noqa: F401

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Loads the file; see `Source.build`."""
        from embedgate.deployed.gguf.encoder import GgufEncoder

        return GgufEncoder(
            model,
            self._path,
            self._header,
            self.combination,
            context,
            self.origin,
            repacks=self._repacks,
            told=self._told,
        )
