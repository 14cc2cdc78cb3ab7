"""One session: every model loaded once, every unique text and role encoded once per combination."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from embedgate import encoders
from embedgate.core.cache import ArtefactCache, cache_root
from embedgate.core.combination import Combination
from embedgate.core.depth import NIGHTLY
from embedgate.core.embeddings import Embeddings
from embedgate.core.errors import BuildError, GateError, counted, one_line
from embedgate.core.machine import Machine, library_versions, this_machine
from embedgate.core.model import Model
from embedgate.core.roles import Input, Role
from embedgate.core.scratch import sweep
from embedgate.data import load_calibration, load_golden
from embedgate.data.overlap import Unjudged
from embedgate.data.types import Dataset, Texts
from embedgate.diagnosis.arm import Inside
from embedgate.diagnosis.golden import Golden, take_golden
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, InRole, Stages, gpu, joined
from embedgate.encoders.registry import distributions as encoders_distributions
from embedgate.metrics import DISTRIBUTIONS, Scores
from embedgate.metrics.evaluate import measure, measure_agreement, measure_order, measure_texts
from embedgate.properties.explore import PROFILES, Profile
from embedgate.runtime import crash_notes
from embedgate.runtime.encoding import Encoding, by_role
from embedgate.runtime.incumbent import Incumbent
from embedgate.runtime.inside import looked_into
from embedgate.runtime.plan import Plan
from embedgate.runtime.pool import EncoderPool, Key
from embedgate.runtime.portions import EVERYTHING, Needs, items_taken
from embedgate.runtime.recording import keeping, record
from embedgate.runtime.texts import PROBE, SessionTexts
from embedgate.sentences import approved_set
from embedgate.vectors.engines.base import distributions as engines_distributions

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer
    from embedgate.performance.figures import SpeedFigures
    from embedgate.performance.footprint import Footprint
    from embedgate.properties.variations import Subject
    from embedgate.vectors.figures import IndexFigures, SearchFigures

LIBRARIES = ("embedgate", *DISTRIBUTIONS, *encoders_distributions(), *engines_distributions())


@dataclass
class Run:
    """Results of one combination of one model.

    Attributes:
        model: The model.
        combination: The combination.
        embeddings: Embeddings of every unique text and role of the session; where a part of them may decide, of those
            that were needed by now.
        evidence: What really ran.
        build_seconds: Wall time from the model folder to a ready encoder.
        encode_seconds: Wall time of encoding them.
        speed: Figures of what was timed, by workload, filled as budgets are judged.
        footprint: Memory and cold start, filled when budgets are judged.
        indexes: Figures of engines' indexes of its vectors, by the index, filled as they are judged.
        search_speed: Figures of searches among its vectors that were timed, by load, filled as budgets are judged.
    """

    model: Model
    combination: Combination
    embeddings: Embeddings
    evidence: Evidence
    build_seconds: float
    encode_seconds: float
    speed: dict[str, SpeedFigures] = field(default_factory=dict)
    footprint: Footprint | None = None
    indexes: dict[str, IndexFigures] = field(default_factory=dict)
    search_speed: dict[str, SearchFigures] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """The run's key among other runs of the session."""
        return self.model.fingerprint, self.combination


class Session:
    """Builds combinations and encodes the datasets' texts, each once.

    Args:
        plan: What was asked for, and on which data.
        progress: Called with a short line at each long step.
        needs: Which texts combinations must encode.

    Attributes:
        plan: What was asked for.
        progress: Called with a short line at each long step.
        texts: Which texts are encoded, and when.
        threads: Threads that every backend uses.
        cache: Where built artefacts are kept.
        pool: The encoders that are open.
        recorded: How many answers were recorded, by the file.
    """

    def __init__(self, plan: Plan, progress: Callable[[str], None] = lambda _: None, needs: Needs = EVERYTHING) -> None:
        settings = plan.settings
        self.plan = plan
        self.progress = progress
        self.threads = settings.threads_here
        self.cache = ArtefactCache(cache_root(settings.cache))
        sweep(self.cache.root)
        sweep()
        self.pool = EncoderPool(
            lambda: plan.model,
            plan.registry,
            self.context_of,
            lambda: self.tokenizer,
            self.threads,
            self.cache,
            progress,
        )
        # As when they are timed: a pool of their own would compete with the backends', here and in fresh processes.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.texts = SessionTexts(plan, needs)
        self._encoding = Encoding(settings.batch_size, progress)
        self._started = time.perf_counter()
        self._unavailable: dict[Combination, str | None] = {}
        self._runs: dict[Key, Run | GateError] = {}
        self._built: dict[Key, Run] = {}
        self._contexts: dict[str, BuildContext] = {}
        self._scores: dict[Key, dict[tuple[str, tuple[tuple[int, ...], ...]], dict[str, Scores]]] = {}
        self._agreement: dict[Key, dict[int, dict[str, Scores]]] = {}
        self._order: dict[Key, dict[str, Scores]] = {}
        self._golden: dict[Key, Golden] = {}
        self._generated: dict[Key, dict[Input, FloatArray]] = {}
        self.recorded: dict[str, int] = {}

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

    def parts(self, run: Run, dataset: Dataset) -> tuple[Dataset, ...]:
        """The parts of a dataset that may decide about a run, each within the next; the last is the dataset itself."""
        return self.texts.portions.of(dataset) if self.texts.stops_early(run.combination) else (dataset,)

    def encoded(self, run: Run, dataset: Dataset) -> tuple[Dataset, ...]:
        """Those of unlabelled texts that a run has encoded by now, and all of them where these are more."""
        known = [item for item, each in enumerate(dataset.inputs()) if each in run.embeddings]
        return (dataset,) if len(known) == len(dataset) else (dataset.part(known), dataset)

    def samples(self, run: Run) -> tuple[tuple[Input, ...] | None, ...]:
        """The texts over which a run may be compared with its reference, each within the next; None for all."""
        return (*self.texts.portions.samples[:-1], None) if self.texts.stops_early(run.combination) else (None,)

    def is_whole(self, run: Run) -> bool:
        """Whether a run has encoded all texts of the datasets."""
        return not self.texts.in_part(run.combination) or all(each in run.embeddings for each in self.texts.judged)

    @cached_property
    def exploration(self) -> Profile:
        """How long properties are looked into."""
        return PROFILES[self.plan.settings.depth]

    @cached_property
    def seed(self) -> int:
        """The seed of generated texts: the one given; else 0, and another one each time at the depth `nightly`."""
        settings = self.plan.settings
        if settings.seed is not None:
            return settings.seed
        return random.SystemRandom().randrange(2**32) if settings.depth == NIGHTLY else 0

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer; None where the model has none that can be loaded by itself."""
        from embedgate.encoders.onnx.tokenizer import Tokenizer

        return Tokenizer.known(self.plan.model)

    @cached_property
    def texts_sha256(self) -> str:
        """The key of the comparison over all texts: made of the hashes of the datasets they come from."""
        return hashlib.sha256("".join(sorted(dataset.sha256 for dataset in self.plan.datasets)).encode()).hexdigest()

    @property
    def context(self) -> BuildContext:
        """The context that encoders of the model to gate are built with."""
        return self.context_of(self.plan.model)

    def context_of(self, model: Model) -> BuildContext:
        """The context that encoders of a model are built with: its prompts stand before the texts of calibration."""
        if model.fingerprint not in self._contexts:
            self._contexts[model.fingerprint] = self._make_context(model)
        return self._contexts[model.fingerprint]

    def _make_context(self, model: Model) -> BuildContext:
        calibration, digest = load_calibration()

        def as_read(texts: Sequence[str]) -> list[str]:
            """Texts as the model reads them, in its roles in turn."""
            return model.roles.prompted(model.roles.spread(texts))

        return BuildContext(
            threads=self.threads,
            cache=self.cache,
            calibration_texts=Unjudged(calibration, (each.text for each in self.texts.inputs), as_read),
            calibration_sha256=digest,
            progress=self.progress,
            batch_size=self.plan.settings.batch_size,
        )

    def unavailable(self, combination: Combination) -> str | None:
        """Why a combination, or its reference, cannot run here, in one line; None where both can."""
        for each in (combination, combination.reference):
            if each not in self._unavailable:
                unfit = encoders.unfit(self.plan.model, each, self.plan.registry)
                self._unavailable[each] = unfit or encoders.unavailable(each, self.plan.registry)
        return self._unavailable[combination] or self._unavailable[combination.reference]

    def run(self, combination: Combination, model: Model | None = None) -> Run:
        """Builds a combination and encodes every text with it, once per session.

        Raises:
            GateError: If it cannot be built or does not encode; one like it each time it is asked for.
        """
        model = model or self.plan.model
        key = (model.fingerprint, combination)
        if key not in self._runs:
            try:
                self._runs[key] = self._run(combination, model)
            except GateError as error:
                self._runs[key] = error.anew()
        found = self._runs[key]
        if isinstance(found, GateError):
            raise found.anew()  # or it would gather the frames of everyone who asks
        return found

    def run_of_own(self, combination: Combination, model: Model | None = None) -> Run:
        """A combination that has run, or is built and has encoded none of the datasets' texts.

        It serves checks that bring texts of their own: those of the datasets may take minutes.

        Raises:
            GateError: If it cannot be built or does not encode.
        """
        model = model or self.plan.model
        key = (model.fingerprint, combination)
        if self.has_run(combination, model):
            return self.run(combination, model)
        if key not in self._built:
            self._built[key] = self._run(combination, model, (PROBE,) if self.plan.is_live(combination) else ())
        return self._built[key]

    def incumbent_run(self, combination: Combination) -> Run:
        """The run of what is to be replaced that a combination is held against.

        Raises:
            GateError: If there is none, or it cannot run.
        """
        incumbent = self._incumbent_that_runs()
        return self.run(incumbent.counterpart(combination, self.plan.registry), self._model_of(incumbent))

    def incumbent_of_own(self) -> Run:
        """As `incumbent_run`, for the reference, but it need not have encoded the datasets' texts.

        Raises:
            GateError: As `incumbent_run`.
        """
        incumbent, reference = self._incumbent_that_runs(), self.plan.reference
        return self.run_of_own(incumbent.counterpart(reference, self.plan.registry), self._model_of(incumbent))

    def known_incumbent_run(self, combination: Combination) -> Run | None:
        """As `incumbent_run`, where it has run."""
        incumbent = self.plan.incumbent
        if incumbent is None or not incumbent.runs:
            return None
        counterpart, model = incumbent.counterpart(combination, self.plan.registry), self._model_of(incumbent)
        return self.run(counterpart, model) if self.has_run(counterpart, model) else None

    def _incumbent_that_runs(self) -> Incumbent:
        if self.plan.incumbent is None or not self.plan.incumbent.runs:
            raise GateError("no incumbent that runs was given", "name it by --gate-incumbent")
        return self.plan.incumbent

    def _model_of(self, incumbent: Incumbent) -> Model:
        """The incumbent's model: the one to gate where it is that."""
        same = incumbent.model.fingerprint == self.plan.model.fingerprint
        return self.plan.model if same else incumbent.model

    def finished(self) -> list[Run]:
        """The runs of the model to gate that were asked for, in the order they ran; references run unasked, too."""
        runs = [run for run in self._runs.values() if isinstance(run, Run) and run.model is self.plan.model]
        return [run for run in runs if run.combination in self.plan.combinations]

    def ran(self) -> list[Combination]:
        """The combinations that ran, whether asked for or needed by others, and whatever model they ran."""
        return list(dict.fromkeys(run.combination for run in self._runs.values() if isinstance(run, Run)))

    def finished_run(self, combination: Combination) -> Run | None:
        """The run of a combination, where it has run."""
        return next((run for run in self.finished() if run.combination == combination), None)

    def has_run(self, combination: Combination, model: Model) -> bool:
        """Whether a combination of a model has been built and encoded."""
        return isinstance(self._runs.get((model.fingerprint, combination)), Run)

    def scores(self, run: Run, dataset: Dataset) -> dict[str, Scores]:
        """A run's scores on a dataset, by metric, measured once; on unlabelled texts, how it agrees with its reference.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
        """
        # Two parts may have as many items, and others.
        known, key = self._scores.setdefault(run.key, {}), (dataset.name, items_taken(dataset))
        if key not in known:
            self.encode_more(run, dataset.inputs())
            known[key] = self._measured(run, dataset)
        return known[key]

    def _measured(self, run: Run, dataset: Dataset) -> dict[str, Scores]:
        if not isinstance(dataset, Texts):
            return measure(dataset, run.embeddings)
        reference = self.run(run.combination.reference, run.model)
        self.encode_more(reference, dataset.inputs())
        return measure_texts(dataset, run.embeddings, reference.embeddings, lengths=not run.model.normalises)

    def agreement(self, run: Run, sample: Sequence[Input] | None = None) -> dict[str, Scores]:
        """A run's agreement with the reference of its device, by metric, measured once.

        Args:
            run: The run.
            sample: The texts to compare; None for all texts, where a part of them may decide, too. Of neighbours, a
                sample tells nothing: they are looked up among all that the run has encoded by then.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
        """
        known, key = self._agreement.setdefault(run.key, {}), len(sample or ())
        if key not in known:
            self.encode_more(run, self.texts.judged if sample is None else sample)
            mine, theirs = self.side_by_side(run)
            known[key] = measure_agreement(mine, theirs, lengths=not run.model.normalises, sample=sample)
        return known[key]

    def side_by_side(self, run: Run) -> tuple[Embeddings, Embeddings]:
        """A run's embeddings and its reference's, of the datasets' texts that both have."""
        mine, theirs = run.embeddings, self.run(run.combination.reference, run.model).embeddings
        both = [each for each in theirs.inputs if each in mine and each in self._among_judged]
        return mine.only(both), theirs.only(both)

    @cached_property
    def _among_judged(self) -> frozenset[Input]:
        return frozenset(self.texts.judged)

    def encode_more(self, run: Run, inputs: Sequence[Input]) -> None:
        """Encodes those of the texts that a run has not encoded yet; its reference first, where that has not, either.

        Raises:
            GateError: If they cannot be encoded.
        """
        missing = [each for each in inputs if each not in run.embeddings]
        if not missing or run.model is not self.plan.model or not self.plan.is_live(run.combination):
            return
        if not run.combination.is_reference:
            self.encode_more(self.run(run.combination.reference, run.model), inputs)
        label = f"{run.combination}"
        encoder, started = self.encoder(run), time.perf_counter()
        matrix = self._encode_all(encoder, run.model, missing, label)
        run.encode_seconds += time.perf_counter() - started
        run.embeddings = run.embeddings.with_more(missing, matrix, self.texts.inputs)
        self.progress(f"{label}: encoded {len(missing)} texts more, {len(run.embeddings)} in all")

    def order(self, run: Run) -> dict[str, Scores]:
        """A run's scores of the order of similarities of the approved set of generated sentences, measured once.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
        """
        if run.key not in self._order:
            cases, inputs = approved_set()[0], self.texts.ordered
            reference = self.run(run.combination.reference, run.model)
            mine, theirs = (
                Embeddings(inputs, self.embed(arm, inputs), run.model.similarity) for arm in (run, reference)
            )
            self._order[run.key] = measure_order(cases, mine, theirs)
        return self._order[run.key]

    def known_order(self, run: Run) -> Mapping[str, Scores]:
        """As `order`, where it has been measured; nothing where not, since it takes an open encoder."""
        return self._order.get(run.key, {})

    def golden(self, run: Run) -> Golden:
        """Tokens and embeddings of the golden texts, always encoded in the same batches, once."""
        if run.key not in self._golden:
            texts, _ = load_golden()
            try:
                encoder = self.encoder(run)
                places = by_role(encoder, run.model, run.model.roles.spread(texts))
                self._golden[run.key] = take_golden(encoder, texts, places)
            except GateError:
                raise
            except Exception as error:
                raise BuildError(f"{run.combination} failed on the golden texts: {one_line(error)}") from error
        return self._golden[run.key]

    def known_golden(self, run: Run) -> Golden | None:
        """As `golden`, where they have been encoded."""
        return self._golden.get(run.key)

    def embed(self, run: Run, inputs: Sequence[Input]) -> FloatArray:
        """Embeddings of any texts by a run's encoder, float32 `[n, dim]`; each is encoded once per session and role.

        Raises:
            GateError: If they cannot be encoded.
        """
        known, generated = run.embeddings, self._generated.setdefault(run.key, {})
        fresh = list(dict.fromkeys(each for each in inputs if each not in known and each not in generated))
        if fresh:
            fresh.sort(key=lambda each: len(each.text), reverse=True)
            rows = self._encoding.of(self.encoder(run), run.model, fresh, f"{run.combination}")
            generated.update(zip(fresh, rows, strict=True))
        return np.stack([known.row(each) if each in known else generated[each] for each in inputs])

    def encode_as(self, run: Run, role: Role, texts: Sequence[str]) -> FloatArray:
        """Embeddings of texts in any role, with any prompt, float32 `[n, dim]`; nothing is remembered.

        Raises:
            GateError: If they cannot be encoded.
        """
        return self._encoding.in_one_role(self.encoder(run), role, texts, f"{run.combination}")

    def encoder(self, run: Run, role: str | None = None) -> Encoder:
        """A run's encoder, of texts in a role where one is given; it is built again where it has been closed since."""
        if role is not None:
            return InRole(self.encoder(run), run.model.roles[role])
        known = self.pool.known(run.model, run.combination)
        if known is not None:
            return known
        if not run.combination.is_reference:
            self._let_go(run.key)
        self.progress(f"{run.combination}: building again, since it was closed in between")
        return self.pool.open(run.model, run.combination)

    def subject(self, run: Run) -> Subject:
        """A run's encoder with what invariance needs: a second one, built with another number of threads."""
        self.encoder(run)
        return self.pool.subject(run.model, run.combination)

    def stages(self, run: Run, inputs: Sequence[Input]) -> Stages | None:
        """A run's intermediate results for a few texts; None where the backend cannot tell or is closed already."""
        encoder = self.pool.known(run.model, run.combination)
        if encoder is None:
            return None
        parts: list[tuple[list[int], Stages]] = []
        for role, rows in by_role(encoder, run.model, inputs):
            shown = encoder.stages_as(role, [inputs[row].text for row in rows])
            if shown is None:
                return None
            parts.append((rows, shown))
        return joined(parts)

    def inside(self, run: Run, inputs: Sequence[Input]) -> Inside:
        """What can be asked of a run beside its stages, about texts in the places and roles of some.

        Args:
            run: The run. Of an encoder that is closed already, nothing can be asked.
            inputs: The texts.
        """
        encoder = self.pool.known(run.model, run.combination)
        return Inside() if encoder is None else looked_into(encoder, run.model, inputs, lambda: self.tokenizer)

    def seconds(self) -> dict[str, float]:
        """Wall time since the session began, and how much of it went into building and encoding."""
        runs = [run for run in self._runs.values() if isinstance(run, Run)]
        total = time.perf_counter() - self._started
        build, encode = sum(run.build_seconds for run in runs), sum(run.encode_seconds for run in runs)
        found = {"total": total, "build": build, "encode": encode, "judge_and_rest": total - build - encode}
        return {name: round(seconds, 2) for name, seconds in found.items()}

    def close(self) -> None:
        """Releases every encoder."""
        self.pool.close()

    def _run(self, combination: Combination, model: Model, inputs: Sequence[Input] | None = None) -> Run:
        """Builds a combination and encodes what it is asked for: the texts given, its own, or all of the session."""
        self.pool.guard.admit(combination)
        self.machine_of(combination)  # a GPU is asked for its name before anything can break its context
        if not combination.is_reference and combination in self.plan.encoding:
            self.run(combination.reference, model)  # first, since building anything closes the candidate before it
        self._let_go((model.fingerprint, combination))
        label = f"{combination}" if model is self.plan.model else f"{combination} of {model.name}"
        with crash_notes.running(self.cache.root, f"{label} ({model.path.name})"):
            self.progress(f"{label}: building")
            started = time.perf_counter()
            encoder = self.pool.open(model, combination)
            built = time.perf_counter()
            if inputs is None and encoder.inputs is not None:
                inputs = encoder.inputs
            elif inputs is None:
                inputs = self.texts.at_first(combination, model)
            keeps = inputs is self.texts.inputs and self.plan.recording(combination) is not None
            with keeping(self, combination, model, encoder) if keeps else nullcontext(encoder) as asked:
                matrix = self._encode_all(asked, model, inputs, label)
            encoded = time.perf_counter()
            evidence = encoder.evidence()
        rate = len(inputs) / max(encoded - built, 1e-9)
        self.progress(
            f"{label}: built in {built - started:.1f} s, "
            f"encoded {counted(len(inputs), 'text')} in {encoded - built:.1f} s ({rate:.0f}/s)"
        )
        run = Run(
            model,
            combination,
            Embeddings(inputs, matrix, model.similarity),
            evidence,
            built - started,
            encoded - built,
        )
        if inputs is self.texts.inputs and (file := self.plan.recording(combination)):
            self.recorded[str(file)] = record(self, run, file)
            self.progress(f"{label}: {counted(self.recorded[str(file)], 'answer')} recorded in {file}")
        return run

    def _let_go(self, begins: Key) -> None:
        """Closes candidates, so that each combination finds the memory that the one before it has found.

        What they have encoded of generated texts is let go of. Their embeddings of the datasets' are seldom read later,
        as for the report.

        Args:
            begins: The run that memory is wanted for.
        """
        for run in self._runs.values():  # rather than what is open: a session's tests close candidates before
            if isinstance(run, Run) and not run.combination.is_reference and run.key != begins:
                self._generated.pop(run.key, None)
                run.embeddings.set_aside(self.cache.root)
        self.pool.close_candidates()

    def _encode_all(self, encoder: Encoder, model: Model, inputs: Sequence[Input], label: str) -> FloatArray:
        if not inputs:  # of recorded answers, of which no text is known to be there
            return np.empty((0, 0), np.float32)
        rows = self.texts.encoding_order(inputs)
        encoded = self._encoding.of(encoder, model, [inputs[row] for row in rows], label)
        matrix = np.empty_like(encoded)
        matrix[list(rows)] = encoded
        return matrix
