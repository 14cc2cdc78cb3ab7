"""Candidates that embedgate does not build: what `--gate-candidate` names.

Each kind is one module or folder of this package, listed in `KINDS` alone; how files of a model are called stands in
`embedgate.core.formats`. Its module has one function,

    def source(spec: Spec, model: Model) -> Source:
        '''What makes its encoder. Raises GateError where there is no such candidate.'''

and imports what it runs with once that builds. The module of a kind that is a file has a second one,

    def beside(path: Path) -> Iterable[str]:
        '''Names of the files that one needs beside it.'''

so that they are fetched with it where the model is of the hub. See `embedgate.encoders.sources` for what a source is,
and docs/add-a-candidate.md.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedgate.core.errors import GateError
from embedgate.core.formats import GGUF, ONNX, OPENVINO, TENSORRT, Format
from embedgate.core.spec import FLAG, QDRANT, Spec
from embedgate.deployed.files import fetch

if TYPE_CHECKING:
    from embedgate.core.model import Model
    from embedgate.encoders.sources import Source


@dataclass(frozen=True)
class Kind:
    """A kind of candidate.

    Attributes:
        about: What it is, for a person.
        fits: Whether what a spec names is of this kind, as its name tells.
        module: The module of this package that makes its sources.
        extra: The extra of embedgate that installs what it runs with; empty where the core does.
        of_model: Whether it is a file that was made of the model: it goes with the model's tokenizer and modules, and
            is fetched from where the model is.
    """

    about: str
    fits: Callable[[str], bool]
    module: str
    extra: str = ""
    of_model: bool = False

    def source(self, spec: Spec, model: Model, progress: Callable[[str], None]) -> Source:
        """What makes the encoder of a candidate of this kind.

        Raises:
            GateError: If there is no such candidate, or it cannot be fetched.
        """
        if self.of_model and not model.has_folder:
            step = "give --gate-model the folder of the model that it was made of"
            raise GateError(f"{spec.flag} {spec.where} goes with a model's own tokenizer and modules", step)
        try:
            module: Any = importlib.import_module(f"{__name__}.{self.module}")
        except ImportError as error:
            step = f"pip install 'embedgate[{self.extra}]'" if self.extra else "reinstall embedgate"
            raise GateError(f"{spec.flag} {spec.where}: a library cannot be imported ({error})", step) from error
        if self.of_model:
            fetch(spec, model, module.beside, progress)
        found: Source = module.source(spec, model)
        return found


def _starts(*prefixes: str) -> Callable[[str], bool]:
    return lambda where: where.lower().startswith(prefixes)


def _ends(*suffixes: str) -> Callable[[str], bool]:
    return lambda where: where.lower().endswith(suffixes)


SHIPPED_FLAG = "--gate-shipped"
# How files of recorded answers end.
ANSWERS = (".answers.jsonl", ".answers.parquet")


def _stored(where: str) -> bool:
    return _starts(QDRANT)(where) or _ends(".parquet", ".jsonl", ".npy")(where)


def _folder(where: str) -> bool:
    path = Path(where).expanduser()
    return path.is_dir() or not path.suffix  # a version may look like a suffix: bge-small-en-v1.5


def _of_model(about: str, form: Format, module: str, extra: str) -> Kind:
    beside = f", its {form.beside} beside it" if form.beside else ""
    told = f"{about} ({', '.join(form.suffixes)}{beside})"
    return Kind(told, _ends(*form.suffixes), module, extra, of_model=True)


# The first that fits counts. Recorded answers stand before stored vectors, which end in the same way; a folder stands
# last, as its name says nothing.
KINDS = (
    Kind("a server's URL (http://, https://)", _starts("http://", "https://"), "server"),
    _of_model("an ONNX file", ONNX, "onnx_file", "onnx"),
    _of_model("an OpenVINO IR", OPENVINO, "openvino_file", "openvino"),
    _of_model("a TensorRT engine", TENSORRT, "tensorrt_file", "gpu,tensorrt"),
    _of_model("a GGUF file", GGUF, "gguf", "gguf"),
    Kind(f"recorded answers ({', '.join(ANSWERS)})", _ends(*ANSWERS), "recorded"),
    Kind(
        "stored vectors with their texts (.parquet, .jsonl; .npy with texts=FILE; qdrant:FOLDER#COLLECTION)",
        _stored,
        "stored",
    ),
    Kind("a folder that SentenceTransformer(folder) loads", _folder, "folder"),
)


def _quiet(_: str) -> None: ...


def source_of(text: str, model: Model, flag: str = FLAG, progress: Callable[[str], None] = _quiet) -> Source:
    """What makes the encoder of a candidate.

    Args:
        text: The candidate, as `--gate-candidate` takes it.
        model: The model to gate.
        flag: The option that it was given by, for messages.
        progress: Told what is fetched.

    Raises:
        GateError: If it is of no kind that is known, there is no such candidate, or it cannot be fetched.
    """
    spec = Spec.parse(text, flag)
    kind = next((kind for kind in KINDS if kind.fits(spec.where)), None)
    if kind is None:
        raise GateError(f"{flag} {spec.where} is of no kind that embedgate gates", f"give {known()}")
    return kind.source(spec, model, progress)


def shipped_source_of(text: str, model: Model, progress: Callable[[str], None] = _quiet) -> Source:
    """As `source_of`, of a file that `--gate-shipped` found; one that is refused is there, and cannot run."""
    try:
        return source_of(text, model, SHIPPED_FLAG, progress)
    except GateError as error:
        from embedgate.deployed.refused import Refused

        return Refused(Spec.parse(text, SHIPPED_FLAG), model, error)


def sources_of(
    texts: Iterable[str], model: Model, progress: Callable[[str], None] = _quiet, *, shipped: Iterable[str] = ()
) -> list[Source]:
    """What makes the encoders of candidates, each under a name of its own.

    Args:
        texts: The candidates, as `--gate-candidate` takes them.
        model: The model to gate.
        progress: Told what is fetched.
        shipped: The files that `--gate-shipped` found, of which one that is refused does not end the others.

    Raises:
        GateError: If there is no such candidate, or two have one name.
    """
    found: dict[Any, Source] = {}
    made = [source_of(text, model, progress=progress) for text in dict.fromkeys(texts)]
    for source in (*made, *(shipped_source_of(text, model, progress) for text in shipped)):
        if other := found.get(source.combination):
            raise GateError(
                f"{FLAG}: {source.origin} and {other.origin} would both be {source.combination}",
                f"give one a name: {FLAG} {shlex.quote(f'{source.origin}::name=other')}",
            )
        found[source.combination] = source
    return list(found.values())


def known() -> str:
    """The kinds of candidates, in words."""
    return "; ".join(kind.about for kind in KINDS)
