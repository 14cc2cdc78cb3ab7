"""A server of embeddings, as its clients see it: vLLM, infinity, TEI, Ollama, llama-server, Triton, OVMS, hosted ones.

    --gate-candidate http://host:port::model=minilm,promise=fp16

Keys, beside those that every candidate takes:

| key | says | default |
| --- | --- | --- |
| `model` | the model's name at the server | the one that it lists |
| `api` | the protocol, by its name in `protocols` | the URL's route, else found by trying |
| `token_env` | the environment variable that holds the bearer token | no token |
| `timeout` | seconds that an answer may take | 60 |
| `batch` | texts in a request, at most | 32, or what the server takes |
| `prompts` | `server`: the server puts prompts before texts | `embedgate` does |
| `long` | `cut` or `refuse`: what it does with texts beyond the model's limit | found out |

See `protocols` for the languages of servers and how to add one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from embedgate.core.combination import SERVED, Combination
from embedgate.core.errors import BuildError, GateError, ResourceError
from embedgate.core.model import NO_MODEL, Model
from embedgate.core.spec import Spec
from embedgate.deployed.server.address import Address
from embedgate.deployed.server.long_texts import CUT, REFUSE
from embedgate.deployed.server.protocols import PROTOCOLS
from embedgate.encoders import BuildContext, Encoder, Stability
from embedgate.encoders.registry import stability_of
from embedgate.encoders.sources import Source

if TYPE_CHECKING:
    from embedgate.deployed.server.client import Client

KEYS = ("model", "api", "token_env", "timeout", "batch", "prompts", "long")
# A server of which nothing is promised may move a text as far as this weight precision does.
USUAL = "bf16"
TIMEOUT = 60.0
BATCH = 32
# Values of `prompts=`.
BY_SERVER, BY_EMBEDGATE = "server", "embedgate"


def source(spec: Spec, _: Model) -> Source:
    """What asks a server.

    Raises:
        GateError: If the URL or a key cannot be meant, or the token is missing; the server itself is not asked.
    """
    # First, so that no message shows a password that stands in the URL.
    address = Address.parse(spec.where, spec.flag, spec.given.get("api", ""))
    spec.refuse_unknown(KEYS)
    for key, values in (("prompts", (BY_SERVER, BY_EMBEDGATE)), ("long", (CUT, REFUSE))):
        if key in spec.given:
            spec.one_of(key, values, "")
    if "api" in spec.given:
        spec.one_of("api", [kind.name for kind in PROTOCOLS], "")
    _token(spec)
    return Server(spec, address, spec.combination(spec.given.get("model", address.host), SERVED))


def _token(spec: Spec) -> str:
    """The bearer token; empty for none.

    Raises:
        GateError: If the variable is not set, or holds what no header can.
    """
    name = spec.given.get("token_env")
    if name is None:
        return ""
    token = os.environ.get(name, "").strip()
    if not token:
        raise GateError(f"{spec.flag} {spec.where}: the environment variable {name} is not set", "set it to the token")
    if not (token.isascii() and token.isprintable()):
        raise GateError(f"{spec.flag} {spec.where}: {name} holds what no HTTP header can", "set it to the token alone")
    return token


def _number(spec: Spec, key: str, default: float) -> float:
    """A positive number.

    Raises:
        GateError: If it is none.
    """
    text = spec.given.get(key, str(default))
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf") or (key == "batch" and found != int(found)):
        raise GateError(f"{spec.flag} {spec.where} has {key}={text}", f"give a positive number, such as {default:g}")
    return found


class Server(Source):
    """Asks a server for embeddings.

    Args:
        spec: Its keys.
        address: Where it is.
        combination: What it is called.

    Raises:
        GateError: If a key has no number.
    """

    proves = False
    takes_threads = False
    local = False

    def __init__(self, spec: Spec, address: Address, combination: Combination) -> None:
        super().__init__(combination)
        self.origin = address.url
        self._spec = spec
        self._address = address
        self._timeout = _number(spec, "timeout", TIMEOUT)
        self._batch = int(_number(spec, "batch", BATCH))
        self._gone: ResourceError | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        """Where it is, and the model's name there; see `Source.identity`."""
        return {"url": self.origin, "model": self._spec.given.get("model", "")}

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Finds out how the server is asked; see `Source.build`. A server that has gone is not waited for again."""
        from embedgate.deployed.server.client import Client

        if self._gone is not None:
            raise self._gone.anew()
        client = Client(self._address, self._timeout, _token(self._spec))
        try:
            return self._found(client, model)
        except BaseException as error:
            client.close()
            if isinstance(error, ResourceError):
                self._went(error)
            raise

    def _found(self, client: Client, model: Model) -> Encoder:
        from embedgate.deployed.server.discovery import find, said
        from embedgate.deployed.server.encoder import ServerEncoder
        from embedgate.deployed.server.long_texts import find_out
        from embedgate.encoders.onnx.tokenizer import Tokenizer

        given = self._spec.given
        route, probe = find(client, given.get("api", ""), given.get("model", ""))
        dim = probe.shape[1]
        if model.dim is not None and dim != model.dim:
            cause = f"{self.origin} gives {dim} dimensions, and {model.name} has {model.dim}"
            step = (
                f"see which model it serves, and name it by ::model=NAME; without its folder, --gate-model {NO_MODEL}"
            )
            raise BuildError(cause, step)
        long_texts = find_out(client, route, Tokenizer.known(model), given.get("long", ""))
        return ServerEncoder(
            client,
            replace(route, extra=long_texts.extra),
            dim,
            self.combination,
            _stability(self.combination),
            said(client, route),
            long_texts,
            self._batch,
            given.get("prompts") == BY_SERVER,
            self._went,
        )

    def _went(self, error: ResourceError) -> None:
        self._gone = error.anew()


def _stability(combination: Combination) -> Stability:
    """How far a text may move: as far in the same request as in another, since a server batches as others ask."""
    kind = USUAL if combination.weight_precision == SERVED else combination.weight_precision
    batch = stability_of(Combination(combination.backend, kind, combination.device)).batch
    return Stability(batch, repetition=batch)
