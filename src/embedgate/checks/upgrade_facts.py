"""What is new beside what it replaces: tokens, prompts, limits, size, speed, memory, and the index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from embedgate.checks.context import Context
from embedgate.core.combination import Combination
from embedgate.core.embeddings import Embeddings
from embedgate.core.machine import changed_versions
from embedgate.core.model import Model
from embedgate.core.roles import Input
from embedgate.core.similarity import normalised
from embedgate.data import load_golden
from embedgate.metrics.compatibility import advise, anew, normalises
from embedgate.metrics.mapping import TooFew, mapped
from embedgate.performance.workloads import HEADLINE
from embedgate.report.earlier import EarlierReport
from embedgate.report.records import RunFacts, run_facts
from embedgate.runtime.incumbent import Incumbent
from embedgate.runtime.session import Run

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer

# Texts whose tokens are looked at.
MOST_TOKENISED = 2_000
NO_VECTORS = "the report of an earlier session holds no vectors of these texts"


class UpgradeFacts:
    """The facts of an upgrade, each found once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._session = context.session
        self._tokens: dict[str, list[np.ndarray] | None] = {}
        self._tokenizers: dict[str, Tokenizer | None] = {}

    @cached_property
    def pairs(self) -> dict[Combination, tuple[Run, Run]]:
        """What has run of the new beside what it is held against, by the combination; nothing of a report."""
        session, incumbent = self._session, self._incumbent
        if incumbent is None or not incumbent.runs:
            return {}
        found = {}
        for combination in self._asked(incumbent):
            other = session.known_incumbent_run(combination)
            if other is not None and session.has_run(combination, self._context.plan.model):
                found[combination] = session.run(combination), other
        return {combination: (new, old) for combination, (new, old) in found.items() if _same_texts(new, old)}

    def _asked(self, incumbent: Incumbent) -> list[Combination]:
        """The combinations that the session compares with the incumbent; all that can be, where it is not known.

        What comes from elsewhere, such as a file, is first: it is what ships.
        """
        plan, cases = self._context.plan, self._context.cases
        asked = {case.combination for case in cases if case.check.against in ("incumbent", "gain")}
        found = [each for each in plan.replacing(incumbent) if each in asked or not cases]
        return sorted(found, key=lambda each: not plan.registry.source(each).origin)

    @property
    def _first(self) -> Combination | None:
        """What is told first, whichever process compares it."""
        return next(iter(self._asked(self._incumbent)), None) if self._incumbent is not None else None

    @property
    def index(self) -> str | None:
        """What becomes of the index, for what is told first; None where that was not compared here."""
        first = self._of_pairs.get(self._first.id) if self._first is not None else None
        return str(first["index"]["advice"]) if first is not None else None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, by the schema in `docs/report-schema.md`; empty where nothing was compared."""
        incumbent = self._incumbent
        if incumbent is None:
            return {}
        of_combinations = self._of_pairs
        if incumbent.report is not None:
            of_combinations = dict(self._of_report(incumbent.report))
        if not of_combinations:
            return {}
        return {
            "incumbent": self._about(incumbent),
            "documents": self._context.settings.documents,
            "combinations": of_combinations,
            "first": self._first.id if self._first is not None else "",
            "not_compared": self._not_compared(incumbent),
            "libraries": self._changed_libraries(incumbent.report) if incumbent.report else {},
        }

    @property
    def _incumbent(self) -> Incumbent | None:
        return self._session.plan.incumbent

    def _not_compared(self, incumbent: Incumbent) -> list[str]:
        """The combinations that it cannot be held against: those that an older report lacks."""
        plan = self._context.plan
        return [each.id for each in plan.encoding if each not in (*plan.replacing(incumbent), incumbent.combination)]

    def _about(self, incumbent: Incumbent) -> dict[str, Any]:
        source = incumbent.candidate
        told = {"kind": incumbent.kind, "name": incumbent.name, "source": incumbent.source}
        return {
            **told,
            "fingerprint": incumbent.fingerprint,
            "identity": dict(source.identity) if source else {},
            "created": incumbent.report.created if incumbent.report else "",
        }

    @cached_property
    def _of_pairs(self) -> dict[str, dict[str, Any]]:
        return {combination.id: self._pair(new, old) for combination, (new, old) in self.pairs.items()}

    def _pair(self, new: Run, old: Run) -> dict[str, Any]:
        common = old.embeddings.inputs
        mine, theirs = new.embeddings.only(common), old.embeddings
        advice = advise(mine, theirs)
        return {
            "against": old.combination.id,
            "new": self._side(new),
            "old": self._side(old),
            "tokens": self._tokens_apart(new, old),
            "index": {"advice": str(advice), "mixed": advice.mixed},
            "map": _map(mine, theirs) if not advice.mixed and self._tells_map(new.combination) else {},
            "anew": self._anew(new),
        }

    def _tells_map(self, combination: Combination) -> bool:
        """Whether a map is fitted, which takes seconds: for what is told first, and for what comes from elsewhere."""
        return combination == self._first or bool(self._context.plan.registry.source(combination).origin)

    def _side(self, run: Run) -> dict[str, Any]:
        """The facts of one side that ran here."""
        tokens = self._tokens_of(run)
        lengths = [len(ids) for ids in tokens] if tokens else []
        facts = run_facts(run)
        return {
            **_measured(facts, rate=self._rate(run)),
            "similarity": str(run.embeddings.similarity),
            "normalised": normalises(run.embeddings) if len(run.embeddings) else None,
            "prompts": self._prompts(run.model),
            "max_tokens": self._limit(run),
            "tokens_per_text": float(np.mean(lengths)) if lengths else None,
        }

    def _of_report(self, report: EarlierReport) -> Iterator[tuple[str, dict[str, Any]]]:
        """The facts beside an older report's, of each combination that ran here and there."""
        session, incumbent = self._session, self._incumbent
        assert incumbent is not None, "it is the report"
        for combination in self._asked(incumbent):
            then = report.run(combination.id)
            if then is None or not session.has_run(combination, self._context.plan.model):
                continue
            run = session.run(combination)
            rate = then.texts / then.encode_seconds if then.encode_seconds else None
            yield (
                combination.id,
                {
                    "against": combination.id,
                    "new": self._side(run),
                    "old": _measured(then, rate=rate),
                    "tokens": {},
                    "index": {"advice": self._by_golden(run, report), "mixed": None},
                    "map": {"missing": NO_VECTORS},
                    "anew": self._anew(run),
                },
            )

    def _by_golden(self, run: Run, report: EarlierReport) -> str:
        """What an older report can tell of vectors: those of its golden texts, where it holds these."""
        then = report.golden(run.combination.id, load_golden()[1])
        now = self._session.known_golden(run)
        if then is None or now is None:
            return f"not known: {NO_VECTORS}; give the incumbent itself, or keep its recorded answers"
        if then.embeddings.shape != now.embeddings.shape:
            return f"not known: {NO_VECTORS}, and its golden texts have {then.embeddings.shape[1]} dimensions"
        pairs = (normalised(each.embeddings.astype(np.float32)) for each in (now, then))
        cosines = np.einsum("ij,ij->i", *pairs)
        told = f"mean cosine {cosines.mean():.5f}, least {cosines.min():.5f}"
        return f"not known: {NO_VECTORS}, but for {len(cosines)} golden texts: {told}"

    def _anew(self, run: Run) -> dict[str, Any]:
        """What embedding the documents anew would take here, or why nobody knows."""
        rate, documents = self._rate(run), self._context.settings.documents
        if rate is None:
            return {"missing": f"{run.combination} encodes nothing here, so its speed is not known"}
        return asdict(anew(documents, rate, run.embeddings.dim))

    def _rate(self, run: Run) -> float | None:
        """Texts a second that were encoded in this session; None where nothing was."""
        if not self._context.plan.is_live(run.combination) or run.encode_seconds <= 0:
            return None
        return len(run.embeddings) / run.encode_seconds

    def _prompts(self, model: Model) -> dict[str, str]:
        """The prompt of each role that the data have."""
        names = dict.fromkeys(name for dataset in self._context.plan.datasets for name in dataset.roles)
        return {name: model.roles[name].prompt for name in names}

    def _limit(self, run: Run) -> int | None:
        tokenizer = self._tokenizer(run)
        return tokenizer.max_tokens if tokenizer is not None else None

    def _tokenizer(self, run: Run) -> Tokenizer | None:
        """The tokenizer that texts are read with; None of a server, for example, and where it is not known."""
        from embedgate.encoders.onnx.tokenizer import Tokenizer

        reads = self._reads_as(run)
        if reads is None:
            return None
        if reads.fingerprint not in self._tokenizers:
            self._tokenizers[reads.fingerprint] = Tokenizer.known(reads)
        return self._tokenizers[reads.fingerprint]

    def _reads_as(self, run: Run) -> Model | None:
        return self._context.plan.registry.source(run.combination).tokenizes_as(run.model)

    def _tokens_of(self, run: Run) -> list[np.ndarray] | None:
        """Token ids of some texts, as the model reads them with its prompts; None where they are not known."""
        reads = self._reads_as(run)
        key = f"{run.model.fingerprint} {reads.fingerprint if reads is not None else None}"
        if key not in self._tokens:
            tokenizer = self._tokenizer(run)
            texts = run.model.roles.prompted(self._some)
            self._tokens[key] = tokenizer.ids(texts) if tokenizer is not None else None
        return self._tokens[key]

    @cached_property
    def _some(self) -> list[Input]:
        """Texts of all lengths."""
        judged = self._session.texts.judged
        chosen = np.linspace(0, len(judged) - 1, min(MOST_TOKENISED, len(judged))).astype(int)
        return [judged[int(place)] for place in chosen]

    def _tokens_apart(self, new: Run, old: Run) -> dict[str, Any]:
        """Whether both read texts as the same tokens; nothing where that is not known."""
        mine, theirs = self._tokens_of(new), self._tokens_of(old)
        if mine is None or theirs is None:
            return {}
        apart = [not np.array_equal(one, other) for one, other in zip(mine, theirs, strict=True)]
        return {"other": float(np.mean(apart)), "texts": len(apart)}

    def _changed_libraries(self, report: EarlierReport) -> dict[str, dict[str, str]]:
        """Versions that are others than then, by the library; those that only one of both names, too."""
        apart = changed_versions(report.libraries, self._session.libraries)
        return {name: {"then": then, "now": now} for name, (then, now) in apart.items()}


def _same_texts(new: Run, old: Run) -> bool:
    """Whether the new has encoded all that the old one has: it need not, where no check compared them."""
    return len(old.embeddings) > 0 and all(each in new.embeddings for each in old.embeddings.inputs)


def _measured(facts: RunFacts, *, rate: float | None) -> dict[str, Any]:
    """What was measured of a run, here or by an earlier session."""
    speed: Mapping[str, Any] = facts.speed
    return {
        "dim": facts.dim,
        "weight_bytes": facts.evidence.weight_bytes or None,
        "texts_per_second": rate,
        "memory_loaded": facts.footprint.loaded if facts.footprint else None,
        "share_of_reference_time": speed[HEADLINE].ratio if HEADLINE in speed else None,
    }


def _map(new: Embeddings, old: Embeddings) -> dict[str, Any]:
    """What a linear map into the old space would keep, or why none could be fitted."""
    first = {each.text: each for each in reversed(old.inputs)}  # or a text would be judged by its own twin
    inputs = [each for each in old.inputs if first[each.text] == each]
    if not all(np.isfinite(arm.matrix).all() for arm in (new, old)):
        return {"missing": "some vectors hold NaN or infinity"}
    try:
        return asdict(mapped(new.at(inputs), old.at(inputs), old.similarity))
    except TooFew as error:
        return {"missing": str(error)}
