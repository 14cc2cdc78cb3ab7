"""One session: every model loaded once, every unique text encoded once per combination."""

from __future__ import annotations

import gc
import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from embedgate import encoders
from embedgate.approved.baseline import Entry
from embedgate.core.cache import ArtefactCache, default_root
from embedgate.core.combination import Combination
from embedgate.core.embeddings import Embeddings
from embedgate.core.errors import BuildError, GateError, ModelError, one_line
from embedgate.core.machine import Machine, default_threads, library_versions, this_machine
from embedgate.core.model import Model
from embedgate.data import load_calibration, load_golden
from embedgate.data.overlap import Unjudged
from embedgate.data.types import Dataset
from embedgate.diagnosis.golden import Golden, take_golden
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stages, gpu
from embedgate.metrics import Scores
from embedgate.metrics.evaluate import measure, measure_agreement, measure_order
from embedgate.properties.contract import has_limit, of_length
from embedgate.properties.explore import PROFILES, Profile
from embedgate.properties.invariance import Subject
from embedgate.runtime import journal
from embedgate.runtime.guard import Guard
from embedgate.runtime.plan import Plan
from embedgate.sentences import approved_set

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer
    from embedgate.vectors.codes import Ranges

# Texts encoded between two lines of progress.
CHUNK = 4096
LIBRARIES = (
    "accelerate",
    "bitsandbytes",
    "embedgate",
    "nncf",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "openvino",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "tensorrt",
    "tensorrt-rtx",
    "tokenizers",
    "torch",
    "torchao",
    "transformers",
)


@dataclass
class Run:
    """What one combination of one model produced.

    Attributes:
        model: The model.
        combination: The combination.
        embeddings: Embeddings of every unique text of the session.
        evidence: What really ran.
        build_seconds: Wall time from the model folder to a ready encoder.
        encode_seconds: Wall time of encoding every unique text.
        scores: Scores by dataset and metric, filled as they are asked for.
        agreement: Scores of the comparison with the reference by metric, filled when they are asked for.
        order: Scores of the order of similarities of generated sentences by metric, filled when they are asked for.
        golden: Tokens and embeddings of the golden texts, filled when they are asked for.
        generated: Embeddings of texts that no dataset has, each float32 `[dim]`, filled as they are asked for.
        speed: Figures of what was timed, by workload, filled as budgets are judged.
        footprint: Figures of memory and cold start, filled when budgets are judged.
        stored: Scores of what is found among its stored vectors, by storage, dataset and metric, filled when they are
            asked for.
        mixed: Scores of what is found across it and its reference, by mixture, filled when they are asked for.
        ranges: What 8-bit codes of its vectors are steps of, where its own or the approved ones are; None before.
        indexes: Figures of engines' indexes of its vectors, by the index, filled as they are judged.
        search_speed: Figures of searches among its vectors that were timed, by load, filled as budgets are judged.
        to_approve: What `--gate-update` records of both, by metric, filled as budgets are measured under it.
    """

    model: Model
    combination: Combination
    embeddings: Embeddings
    evidence: Evidence
    build_seconds: float
    encode_seconds: float
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    agreement: dict[str, Scores] = field(default_factory=dict)
    order: dict[str, Scores] = field(default_factory=dict)
    golden: Golden | None = None
    generated: dict[str, FloatArray] = field(default_factory=dict)
    speed: dict[str, dict[str, Any]] = field(default_factory=dict)
    footprint: dict[str, Any] = field(default_factory=dict)
    stored: dict[tuple[str, str, str], Scores] = field(default_factory=dict)
    mixed: dict[str, Scores] = field(default_factory=dict)
    ranges: Ranges | None = None
    indexes: dict[str, dict[str, float]] = field(default_factory=dict)
    search_speed: dict[str, dict[str, Any]] = field(default_factory=dict)
    to_approve: dict[str, Entry] = field(default_factory=dict)


class Session:
    """Builds combinations and encodes the datasets' texts, each once.

    Args:
        plan: What was asked for, and on which data.
        progress: Called with a short line at each long step.
    """

    def __init__(self, plan: Plan, progress: Callable[[str], None] = lambda _: None) -> None:
        settings = plan.settings
        self.plan = plan
        self.settings = settings
        self.registry = plan.registry
        self.progress = progress
        self.combinations = plan.combinations
        self.datasets = plan.datasets
        self.threads = settings.threads or default_threads()
        self.cache = ArtefactCache(settings.cache or default_root())
        self.started = time.perf_counter()
        self._runs: dict[tuple[str, Combination], Run | GateError] = {}
        self._open: dict[tuple[str, Combination], Encoder] = {}
        self._timed: dict[str, tuple[tuple[Combination, int], Encoder]] = {}
        self._subject: Subject | None = None
        self.guard = Guard(self._give_back)

    @property
    def model(self) -> Model:
        """The model to gate."""
        return self.plan.model

    @property
    def incumbent(self) -> Model:
        """The model it is to replace.

        Raises:
            GateError: If there is none.
        """
        if self.plan.incumbent is None:
            raise GateError("no incumbent was given", "name it by --gate-incumbent")
        return self.plan.incumbent

    @property
    def reference(self) -> Combination:
        """What model and incumbent are compared as: the reference on the first combination's device."""
        return self.plan.reference

    @cached_property
    def machine(self) -> Machine:
        """The machine of this session, without its GPU."""
        return this_machine()

    @cached_property
    def libraries(self) -> dict[str, str]:
        """Versions of the libraries that compute."""
        return library_versions(LIBRARIES)

    def machine_of(self, combination: Combination) -> Machine:
        """The machine as a combination has it: with the GPU, where it computes there."""
        return self._machine_with_gpu if combination.device == "cuda" else self.machine

    def libraries_of(self, combination: Combination) -> dict[str, str]:
        """Versions of what computes a combination: CUDA and the driver too, where it computes on a GPU."""
        return {**self.libraries, **self._gpu_versions} if combination.device == "cuda" else self.libraries

    @cached_property
    def _machine_with_gpu(self) -> Machine:
        return replace(self.machine, gpu=gpu.name() or "")

    @cached_property
    def _gpu_versions(self) -> dict[str, str]:
        return gpu.versions()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every unique text of the datasets, longest first, so that batches hold texts of like length."""
        unique = dict.fromkeys(text for dataset in self.datasets for text in dataset.texts())
        return tuple(sorted(unique, key=len, reverse=True))

    @cached_property
    def encoding_order(self) -> tuple[int, ...]:
        """Which of `texts` is encoded when: a seed of one's own shuffles texts of like length among the batches.

        What is measured keeps the order of `texts`, and so the sample of them whose neighbours are looked up.
        """
        rows = list(range(len(self.texts)))
        if self.settings.seed:
            random.Random(self.settings.seed).shuffle(rows)
        return tuple(sorted(rows, key=lambda row: len(self.texts[row]), reverse=True))

    @cached_property
    def exploration(self) -> Profile:
        """How long properties are looked into."""
        return PROFILES[self.settings.exploration]

    @cached_property
    def seed(self) -> int:
        """What generated texts are drawn from: always the same under `ci`, another one each time where nobody waits."""
        if self.settings.seed is not None:
            return self.settings.seed
        return 0 if self.settings.exploration == "ci" else random.SystemRandom().randrange(2**32)

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer; None where the model has none that can be loaded by itself."""
        from embedgate.encoders.onnx.tokenizer import Tokenizer

        try:
            return Tokenizer(self.model)
        except ModelError:
            return None

    @property
    def texts_name(self) -> str:
        """The name under which the comparison with the reference over all texts is approved."""
        return self.plan.texts_name

    @cached_property
    def texts_sha256(self) -> str:
        """What the comparison over all texts is keyed by: the hashes of the datasets they come from."""
        return hashlib.sha256("".join(sorted(dataset.sha256 for dataset in self.datasets)).encode()).hexdigest()

    @cached_property
    def context(self) -> BuildContext:
        """What encoders are built with."""
        calibration, digest = load_calibration()
        return BuildContext(
            threads=self.threads,
            cache=self.cache,
            calibration_texts=Unjudged(calibration, self.texts),
            calibration_sha256=digest,
            progress=self.progress,
            batch_size=self.settings.batch_size,
        )

    def unavailable(self, combination: Combination) -> str | None:
        """Why a combination, or its reference, cannot run here, in one line; None where both can."""
        own = encoders.unavailable(combination, self.registry)
        return own or encoders.unavailable(combination.reference, self.registry)

    def run(self, combination: Combination, model: Model | None = None) -> Run:
        """Builds a combination and encodes every text with it, once per session.

        Raises:
            GateError: If it cannot be built or does not encode; one like it each time it is asked for.
        """
        key = ((model or self.model).fingerprint, combination)
        if key not in self._runs:
            try:
                self._runs[key] = self._run(combination, model or self.model)
            except GateError as error:
                self._runs[key] = error.anew()
        found = self._runs[key]
        if isinstance(found, GateError):
            raise found.anew()  # or it would gather the frames of everyone who asks
        return found

    def finished(self) -> list[Run]:
        """The runs of the model to gate that were asked for, in the order they ran; references run unasked, too."""
        runs = [run for run in self._runs.values() if isinstance(run, Run) and run.model is self.model]
        return [run for run in runs if run.combination in self.combinations]

    def ran(self) -> list[Combination]:
        """The combinations that ran, whether asked for or needed by others, and whatever model they ran."""
        return list(dict.fromkeys(run.combination for run in self._runs.values() if isinstance(run, Run)))

    def finished_run(self, combination: Combination) -> Run | None:
        """The run of a combination, where it has run."""
        return next((run for run in self.finished() if run.combination == combination), None)

    def scores(self, run: Run, dataset: Dataset) -> dict[str, Scores]:
        """A run's scores on a dataset, by metric.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
        """
        if dataset.name not in run.scores:
            run.scores[dataset.name] = measure(dataset, run.embeddings)
        return run.scores[dataset.name]

    def agreement(self, run: Run) -> dict[str, Scores]:
        """A run's agreement with the reference of its device over all texts, by metric.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
        """
        if not run.agreement:
            reference = self.run(run.combination.reference, run.model)
            run.agreement.update(measure_agreement(run.embeddings, reference.embeddings))
        return run.agreement

    def order(self, run: Run) -> dict[str, Scores]:
        """A run's scores of the order of similarities of the approved set of generated sentences, by metric.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
        """
        if not run.order:
            cases, _ = approved_set()
            texts = list(dict.fromkeys(text for case in cases for text in case.texts))
            reference = self.run(run.combination.reference, run.model)
            mine, theirs = (Embeddings(texts, self.embed(arm, texts)) for arm in (run, reference))
            run.order.update(measure_order(cases, mine, theirs))
        return run.order

    def golden(self, run: Run) -> Golden:
        """Tokens and embeddings of the golden texts, always encoded in the same batches."""
        if run.golden is None:
            texts, _ = load_golden()
            try:
                run.golden = take_golden(self.encoder(run), texts)
            except GateError:
                raise
            except Exception as error:
                raise BuildError(f"{run.combination} failed on the golden texts: {one_line(error)}") from error
        return run.golden

    def embed(self, run: Run, texts: Sequence[str]) -> FloatArray:
        """Embeddings of any texts by a run's encoder, float32 `[n, dim]`; each is encoded once per session.

        Raises:
            GateError: If they cannot be encoded.
        """
        known = run.embeddings
        fresh = list(dict.fromkeys(text for text in texts if text not in known and text not in run.generated))
        if fresh:
            rows = self._encode(self.encoder(run), sorted(fresh, key=len, reverse=True), f"{run.combination}")
            run.generated.update(zip(sorted(fresh, key=len, reverse=True), rows, strict=True))
        return np.stack([known.row(text) if text in known else run.generated[text] for text in texts])

    def encoder(self, run: Run) -> Encoder:
        """A run's encoder; it is built again where it has been closed since."""
        key = (run.model.fingerprint, run.combination)
        if key not in self._open:
            if not run.combination.is_reference:
                self._close_candidates()
            self.progress(f"{run.combination}: building again, since it was closed in between")
            self._open[key] = self._build(run.model, run.combination, self.context)
        return self._open[key]

    def subject(self, run: Run) -> Subject:
        """A run's encoder with what invariance needs: a second one, built with another number of threads."""
        encoder = self.encoder(run)
        if self._subject is None or self._subject.encoder is not encoder:
            self._close_subject()
            other = replace(self.context, threads=1 if self.threads > 1 else 2)

            def second() -> Encoder:
                built = self._build(run.model, run.combination, other)
                if encoder.is_same_as(built):
                    raise BuildError(f"the factory of {run.combination} returned the same encoder twice", "build anew")
                return built

            beyond_limit = of_length(self.tokenizer, 8) if has_limit(self.tokenizer) else None
            self._subject = Subject(encoder, second, beyond_limit)
        return self._subject

    def timed(self, role: str, combination: Combination, threads: int) -> Encoder:
        """An encoder of the model to gate built to be timed, and kept until another takes its role.

        Args:
            role: `reference` or `candidate`; a reference timed against itself is built twice.
            combination: What to build.
            threads: Threads to build it with.

        Raises:
            GateError: If it cannot be built.
        """
        if role not in self._timed or self._timed[role][0] != (combination, threads):
            self._close_timed(role)
            context = replace(self.context, threads=threads)
            built = self._build(self.model, combination, context)
            others = (*self._open.values(), *(encoder for _, encoder in self._timed.values()))
            if any(built.is_same_as(other) for other in others):
                raise BuildError(f"the factory of {combination} returned the same encoder twice", "build anew")
            self._timed[role] = (combination, threads), built
        return self._timed[role][1]

    def has_run(self, combination: Combination, model: Model) -> bool:
        """Whether a combination of a model has been built and encoded."""
        return isinstance(self._runs.get((model.fingerprint, combination)), Run)

    def stages(self, run: Run, texts: Sequence[str]) -> Stages | None:
        """A run's intermediate results for a few texts; None where the backend cannot tell or is closed already."""
        encoder = self._open.get((run.model.fingerprint, run.combination))
        return encoder.stages(texts) if encoder is not None else None

    def seconds(self) -> dict[str, float]:
        """Wall time since the session began, and how much of it went into building and encoding."""
        runs = [run for run in self._runs.values() if isinstance(run, Run)]
        total = time.perf_counter() - self.started
        build, encode = sum(run.build_seconds for run in runs), sum(run.encode_seconds for run in runs)
        found = {"total": total, "build": build, "encode": encode, "judge_and_rest": total - build - encode}
        return {name: round(seconds, 2) for name, seconds in found.items()}

    def close(self) -> None:
        """Releases every encoder."""
        self._close_subject()
        for role in tuple(self._timed):
            self._close_timed(role)
        for encoder in self._open.values():
            encoder.close()
        self._open.clear()

    def _build(self, model: Model, combination: Combination, context: BuildContext) -> Encoder:
        def build() -> Encoder:
            return encoders.build(model, combination, context, self.registry)

        return self.guard.encoder(self.guard.attempt(combination, "building", build), combination)

    def _run(self, combination: Combination, model: Model) -> Run:
        self.guard.admit(combination)
        self.machine_of(combination)  # a GPU is asked for its name before anything can break its context
        if not combination.is_reference:
            self.run(combination.reference, model)  # first, since building anything closes the candidate before it
        self._close_candidates()
        label = f"{combination}" if model is self.model else f"{combination} of {model.name}"
        with journal.running(self.cache.root, f"{label} ({model.path.name})"):
            self.progress(f"{label}: building")
            started = time.perf_counter()
            encoder = self._build(model, combination, self.context)
            built = time.perf_counter()
            self._open[model.fingerprint, combination] = encoder
            matrix = self._encode_all(encoder, label)
            encoded = time.perf_counter()
            evidence = encoder.evidence()
        rate = len(self.texts) / max(encoded - built, 1e-9)
        self.progress(
            f"{label}: built in {built - started:.1f} s, encoded {len(self.texts)} texts in {encoded - built:.1f} s "
            f"({rate:.0f}/s)"
        )
        return Run(model, combination, Embeddings(self.texts, matrix), evidence, built - started, encoded - built)

    def _encode_all(self, encoder: Encoder, label: str) -> FloatArray:
        rows = self.encoding_order
        encoded = self._encode(encoder, [self.texts[row] for row in rows], label)
        matrix = np.empty_like(encoded)
        matrix[list(rows)] = encoded
        return matrix

    def _encode(self, encoder: Encoder, texts: Sequence[str], label: str) -> FloatArray:
        chunks = []
        try:
            for start in range(0, len(texts), CHUNK):
                chunks.append(encoder.encode(texts[start : start + CHUNK], batch_size=self.settings.batch_size))
                if start + CHUNK < len(texts):
                    self.progress(f"{label}: {start + CHUNK} of {len(texts)} texts")
        except GateError:
            raise
        except Exception as error:
            raise BuildError(f"{label} failed while encoding: {one_line(error)}") from error
        shapes = {chunk.shape[1:] for chunk in chunks}
        if len(shapes) != 1 or sum(len(chunk) for chunk in chunks) != len(texts):
            raise BuildError(f"{label} gave embeddings of shapes {[chunk.shape for chunk in chunks]}")
        return np.concatenate(chunks)

    def _close_candidates(self) -> None:
        """Closes all but references, whose stages every diagnosis needs."""
        self._close_subject()
        self._close_timed("candidate")
        for key in [key for key in self._open if not key[1].is_reference]:
            self._open.pop(key).close()
            run = self._runs.get(key)
            if isinstance(run, Run):
                run.generated.clear()  # what was judged of them is kept; others would fill the memory at night
        _free()

    def _give_back(self, combination: Combination) -> None:
        """Closes what a combination holds, and what is only there to be timed; all of it is built again when needed."""
        self._close_subject()
        for role in tuple(self._timed):
            self._close_timed(role)
        for key in [key for key in self._open if key[1] == combination]:
            self._open.pop(key).close()
        _free()

    def _close_timed(self, role: str) -> None:
        if role in self._timed:
            self._timed.pop(role)[1].close()

    def _close_subject(self) -> None:
        if self._subject is not None:
            self._subject.close()
        self._subject = None


def _free() -> None:
    """Frees what was closed: encoders' cycles, and memory that torch would keep from other libraries."""
    gc.collect()
    gpu.release()
