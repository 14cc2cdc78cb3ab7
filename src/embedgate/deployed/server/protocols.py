"""The languages that servers of embeddings speak.

To add one, write a class with the interface of `Protocol`, and list it in `PROTOCOLS`: the order there is the order in
which a server's is looked for. Nothing else names one (docs/add-a-candidate.md).
"""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from embedgate.core.errors import BuildError
from embedgate.core.judgement import shorten

# What stands in a route for the model's name at the server.
MODEL = "{model}"
# Gets a route and gives its JSON; None where there is none.
Get = Callable[[str], Any]
# Gets a route and gives its JSON object; empty where there is none.
GetObject = Callable[[str], Mapping[str, Any]]
# Types as servers name them, and the weight precisions that they are.
TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Said:
    """What a server says of itself.

    Attributes:
        library: Its name and version; empty where it does not say.
        owner: Who serves the model; empty where it does not say.
        details: What else a person would want to see.
        most: Texts that a request may have; None where it tells no limit.
        weight_precision: What it says that the model computes in; empty where it does not.
    """

    library: str = ""
    owner: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    most: int | None = None
    weight_precision: str = ""


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

    def said(self, get: GetObject, route: str, model: str) -> Said:
        """What a server says of itself where those whose own this protocol is say it.

        Args:
            get: Gets what may be there or not.
            route: Where it is asked in this protocol; empty where it is asked in another.
            model: The model's name at the server.
        """
        return Said()

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

    def said(self, get: GetObject, route: str, model: str) -> Said:
        """Its version at `/version`, and who owns the model; see `Protocol.said`."""
        owner = _owner(get(route.replace("embeddings", "models")).get("data"), model) if route else ""
        version = word(get("/version").get("version"))
        library = f"{owner or 'version'} {version}" if version else ""
        return Said(library, owner, {"owned by": owner} if owner else {})

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

    def said(self, get: GetObject, route: str, model: str) -> Said:
        """What stands at `/info`; see `Protocol.said`."""
        info = get("/info")
        library = ""
        if "max_client_batch_size" in info:
            library = f"text-embeddings-inference {word(info.get('version'))}".strip()
        keys = ("model_id", "model_sha", "model_dtype", "max_input_length", "max_client_batch_size")
        told = {key: info[key] for key in keys if info.get(key) is not None}
        details = {key: each if isinstance(each, int) else shorten(str(each)) for key, each in told.items()}
        most = info.get("max_client_batch_size")
        most = most if isinstance(most, int) and most > 0 else None
        return Said(library, details=details, most=most, weight_precision=TYPES.get(str(info.get("model_dtype")), ""))

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

    def said(self, get: GetObject, route: str, model: str) -> Said:
        """Its version at `/api/version`; see `Protocol.said`."""
        version = word(get("/api/version").get("version"))
        return Said(f"ollama {version}" if version else "")

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

    def said(self, get: GetObject, route: str, model: str) -> Said:
        """Name and version at `/v2`; see `Protocol.said`."""
        server = get("/v2")
        return Said(f"{word(server.get('name'))} {word(server.get('version'))}".strip())

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


def word(found: Any) -> str:
    """A short text; empty for what is none."""
    return shorten(found, 60) if isinstance(found, str) else ""


def _owner(found: Any, model: str) -> str:
    """Who owns a model, as a list of models says, or who owns the first where it is not among them."""
    listed = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    mine = next((each for each in listed if each.get("id") == model), listed[0] if listed else {})
    return word(mine.get("owned_by"))


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
