"""The languages that servers of embeddings speak.

To add one, write a class with the interface of `Protocol`, and list it in `PROTOCOLS`: the order there is the order in
which a server's is looked for. Nothing else names one (docs/add-a-candidate.md).
"""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from embedgate.core.errors import BuildError

# What stands in a route for the model's name at the server.
MODEL = "{model}"
# Gets a route and gives its JSON; None where there is none.
Get = Callable[[str], Any]


class Protocol(ABC):
    """How a server is asked for embeddings, and what its answer means.

    Attributes:
        name: Its word in `api=`.
        routes: Where it may be, below the server's root; `{model}` stands for the model's name there.
        cuts: What a request adds to ask that long texts be cut; empty where it cannot.
    """

    name: ClassVar[str]
    routes: ClassVar[tuple[str, ...]]
    cuts: ClassVar[Mapping[str, Any]] = {}

    def models(self, get: Get, route: str) -> list[str]:
        """Names of the models that the server lists; none where it lists none, or one that needs no name."""
        return []

    def prepare(self, get: Get, model: str) -> None:  # noqa: B027 - most have nothing to look up
        """Looks up what requests need.

        Raises:
            BuildError: If the server has nothing that embeddings can be asked of.
        """

    @abstractmethod
    def body(self, texts: Sequence[str], model: str) -> dict[str, Any]:
        """The request, as JSON."""

    @abstractmethod
    def rows(self, answer: Any) -> list[tuple[Any, Any]]:
        """The place of each text and its vector, as the answer has them; places count from 0.

        Raises:
            LookupError, TypeError, ValueError: If the answer has another form.
        """


class OpenAI(Protocol):
    """`POST /v1/embeddings`: vLLM, infinity, llama-server, Ollama, TEI, hosted ones; OpenVINO's at `/v3`."""

    name = "openai"
    routes = ("/v1/embeddings", "/embeddings", "/v3/embeddings")
    # vLLM's word for "at the model's limit".
    cuts: ClassVar[Mapping[str, Any]] = {"truncate_prompt_tokens": -1}

    def models(self, get: Get, route: str) -> list[str]:
        """Names at `/v1/models`; see `Protocol.models`."""
        found = get(route.replace("embeddings", "models"))
        return [str(each["id"]) for each in found["data"] if "id" in each]

    def body(self, texts: Sequence[str], model: str) -> dict[str, Any]:
        """The request; see `Protocol.body`."""
        named = {"model": model} if model else {}
        return {**named, "input": list(texts), "encoding_format": "float"}

    def rows(self, answer: Any) -> list[tuple[Any, Any]]:
        """Vectors by their `index`, in either encoding; see `Protocol.rows`."""
        return [(each["index"], _decoded(each["embedding"])) for each in answer["data"]]


class TEI(Protocol):
    """`POST /embed` of Text Embeddings Inference, which serves one model."""

    name = "tei"
    routes = ("/embed",)
    cuts: ClassVar[Mapping[str, Any]] = {"truncate": True}

    def body(self, texts: Sequence[str], model: str) -> dict[str, Any]:
        """The request; see `Protocol.body`."""
        return {"inputs": list(texts)}

    def rows(self, answer: Any) -> list[tuple[Any, Any]]:
        """Vectors in the texts' order; see `Protocol.rows`."""
        return list(enumerate(_listed(answer)))


class Ollama(Protocol):
    """`POST /api/embed` of Ollama, of which some versions cut long texts and others refuse them."""

    name = "ollama"
    routes = ("/api/embed",)

    def models(self, get: Get, route: str) -> list[str]:
        """Names at `/api/tags`; see `Protocol.models`."""
        return [str(each["name"]) for each in get("/api/tags")["models"]]

    def body(self, texts: Sequence[str], model: str) -> dict[str, Any]:
        """The request; see `Protocol.body`."""
        return {"model": model, "input": list(texts)}

    def rows(self, answer: Any) -> list[tuple[Any, Any]]:
        """Vectors in the texts' order; see `Protocol.rows`."""
        return list(enumerate(_listed(answer["embeddings"])))


class KServe(Protocol):
    """`POST /v2/models/{model}/infer` with texts as bytes: Triton, OpenVINO Model Server."""

    name = "kserve"
    routes = ("/v2/models/{model}/infer",)

    def __init__(self) -> None:
        self._input, self._rank, self._output = "", 1, ""

    def prepare(self, get: Get, model: str) -> None:
        """Finds the input that takes texts and the output that has embeddings; see `Protocol.prepare`."""
        told = get(f"/v2/models/{model}")
        try:
            inputs = [(str(each["name"]), len(each["shape"])) for each in told["inputs"] if each["datatype"] == "BYTES"]
            outputs = [
                str(each["name"])
                for each in told["outputs"]
                if each["datatype"] in ("FP32", "FP16", "FP64") and len(each["shape"]) <= 2
            ]
        except (LookupError, TypeError) as error:
            raise BuildError(f"/v2/models/{model} describes no model that is known", "correct model=") from error
        if len(inputs) != 1 or not outputs:
            cause = f"{model} takes {len(inputs)} inputs of texts (BYTES) and gives {len(outputs)} outputs of vectors"
            raise BuildError(cause, "serve it with its tokenizer and pooling, as an ensemble or a Python backend")
        (self._input, self._rank) = inputs[0]
        self._output = next((each for each in outputs if "sentence" in each), outputs[0])

    def body(self, texts: Sequence[str], model: str) -> dict[str, Any]:
        """The request; see `Protocol.body`."""
        shape = [len(texts)] + [1] * (self._rank - 1)
        asked = {"name": self._input, "shape": shape, "datatype": "BYTES", "data": list(texts)}
        return {"inputs": [asked], "outputs": [{"name": self._output}]}

    def rows(self, answer: Any) -> list[tuple[Any, Any]]:
        """Vectors cut out of one flat list; see `Protocol.rows`."""
        found = [each for each in answer["outputs"] if each["name"] == self._output][0]  # noqa: RUF015 - IndexError
        count, *_ = found["shape"]
        if not count:
            raise ValueError("no vectors")
        width = len(found["data"]) // count
        if count * width != len(found["data"]) or found["shape"] != [count, width]:
            raise ValueError(f"{len(found['data'])} numbers of shape {found['shape']}")
        return [(place, found["data"][place * width : (place + 1) * width]) for place in range(count)]


PROTOCOLS: tuple[type[Protocol], ...] = (OpenAI, TEI, Ollama, KServe)


def _listed(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise TypeError(f"{type(found).__name__} in the place of a list")
    return found


def _decoded(vector: Any) -> Any:
    """A vector, which base64 holds as float32 of little endian."""
    if not isinstance(vector, str):
        return vector
    try:
        return np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")
    except binascii.Error as error:
        raise ValueError(f"text that is no base64 ({error})") from error
