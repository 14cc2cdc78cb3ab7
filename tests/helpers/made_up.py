"""Sessions that nobody ran, of every kind that a report must show, and one with everything in it at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import Diagnosis, Judgement, Proof, Slice, Tried, WorstText
from embedgate.encoders import Evidence
from embedgate.performance.figures import Latency, SpeedFigures
from embedgate.performance.footprint import Footprint
from embedgate.report.collector import Collector
from embedgate.report.records import Record, RunFacts
from embedgate.report.summary import Summary, summarise

HOSTILE = '<script>alert(1)</script> <img src=x onerror=alert(2)> "\' onload="alert(3)" ${1} {{ 7 }} $x_1$ \x1b[31m'
REFERENCE, GOOD, BAD, OPEN = "torch-fp32-cpu", "torch-bf16-cpu", "onnxruntime-int8static-cpu", "torch-int8-cpu"
OTHERS = (
    "onnxruntime-int8-cpu",
    "onnxruntime-fp16-cpu",
    "openvino-int8-cpu",
    "torchao-int8wo-cpu",
    "bitsandbytes-nf4-cpu",
)
DATASETS = (("pairs", "spearman", 0.8226), ("passages", "ndcg_at_10", 0.6835), ("topics", "v_measure", 0.7411))
POOLING = Diagnosis(
    "pooling",
    "tokens and hidden states agree, pooled embeddings do not (cosine 0.871 on average): it pools by CLS, the reference by mean",
    "compare the pooling config (1_Pooling/config.json): mean, CLS, max, attention mask",
    Proof(
        "reproduced",
        texts=24,
        cosine=0.99994,
        distance=0.011,
        distance_before=1.13,
        tried=tuple(Tried(f"fault {number}", 0.4 + number / 50) for number in range(12)),
        attempts=412,
        untried=("another model: no incumbent is given",),
    ),
)
RECORD = "pytest --gate-combination torch-bf16-cpu --gate-update --gate-reason TEXT"
WORST = (
    WorstText("Who won the Quay Half Marathon in 2023?", 1.0, 0.0),
    WorstText("why is there a donkey in the coat of arms of Ostmoor", 1.0, 0.0),
    WorstText("apartment where a piano is not wanted but animals may live", 0.91, 0.14),
)
SPEED = SpeedFigures(0.5, 0.49, 0.52, 8, 1, 512.0, 255.0, 1.95, 0.1, ())
FOOTPRINT = Footprint(102_000_000, 167_000_000, 0, None, None, 0.5, 0.1)


def green() -> Summary:
    """Nothing to complain of."""
    return _session([*_row(REFERENCE), *_row(GOOD, keeps=0.9998), *_row(OTHERS[0], keeps=0.9971)])


def worse() -> Summary:
    """One combination loses quality."""
    return _session([*_row(REFERENCE), *_row(GOOD, keeps=0.9998), *_row(BAD, keeps=0.912)])


def drifted() -> Summary:
    """One combination is not what was approved any more."""
    cause = "regressed from what was approved for cpu-x86_64-amx in 2 of 23 values"
    details = ("pairs spearman: 0.8191, approved 0.8226 (±0.002 tolerated)", "onnxruntime 1.24.0 -> 1.26.1")
    step = f"find what changed (library versions: see report.json); once it is meant: {RECORD}"
    red = Judgement("baseline", GOOD, "fail", cause, diagnosis=Diagnosis("baseline", cause, step), details=details)
    return _session([*_row(REFERENCE), *_row(GOOD, keeps=0.9957, more=[red])])


def unapproved() -> Summary:
    """Nothing was approved yet."""
    cause = "no baseline of all-MiniLM-L6-v2 is approved for cpu-x86_64-amx or cpu-x86_64 or cpu"
    why = Diagnosis("approval", cause, f"approve what you see by: {RECORD}")
    reds = [
        Judgement(check, name, "fail", cause, diagnosis=why) for name in (REFERENCE, GOOD) for check in ("baseline",)
    ]
    return _session([*_row(REFERENCE, more=reds[:1]), *_row(GOOD, keeps=0.9998, more=reds[1:])])


def upgrade() -> Summary:
    """A new model beside the incumbent, worse than it on one dataset."""
    kept = {"pairs": 1.012, "passages": 0.962, "topics": 1.0}
    found = [_retention(REFERENCE, *each, kept[each[0]], check="upgrade") for each in DATASETS]
    summary = _session([*_row(REFERENCE), *_row(GOOD, keeps=0.9998), *(Record("", judgement=j) for j in found)])
    summary.facts["incumbent"] = "4f" * 32
    summary.facts["index"] = "build the index anew: the new vectors have 384 dimensions, the incumbent's 768"
    return summary


def bad(combinations: int = 10) -> Summary:
    """Many combinations, all of them bad."""
    names = [f"acme-int{i}-cpu" for i in range(combinations)]
    return _session([*_row(REFERENCE), *(record for name in names for record in _row(name, keeps=0.9))])


def everything(hostile: bool = True) -> Summary:
    """All that a report can show, with texts in it that would break a page that did not escape them."""
    text = HOSTILE if hostile else "a text"
    odd = [
        Judgement(
            "contract", BAD, "fail", f"cannot encode {text}", metric="emoji", diagnosis=Diagnosis("tokens", text, text)
        ),
        Judgement("invariance", GOOD, "fail", f"moves {text}", metric="padding", diagnosis=_unknown(text)),
        Judgement(
            "effective", OTHERS[4], "fail", f"computes in fp32: {text}", diagnosis=Diagnosis("evidence", text, text)
        ),
        Judgement("size", OPEN, "inconclusive", "", diagnosis=Diagnosis("approval", f"no budget {text}", "approve it")),
        Judgement("retention", OPEN, "fail", "expected", "pairs", "recall_at_10", observed=0.9, limit=0.99),
        Judgement("baseline", GOOD, "pass", "as approved", details=(f"better than approved {text}",)),
        Judgement("receipt", GOOD, "pass", f"is proved by a receipt {text}", details=(text,)),
    ]
    rows = [*_row(REFERENCE), *_row(GOOD, keeps=0.9998), *_row(BAD, keeps=0.912), *_row(OPEN, keeps=0.9935)]
    rows += [
        record
        for name, keeps in zip(OTHERS, (0.9971, 0.9999, 0.985, 0.9962, 0.62), strict=True)
        for record in _row(name, keeps=keeps)
    ]
    rows += [
        Record(
            j.combination,
            judgement=j,
            expected="quantization: loses (https://example.org/issue)" if j.message == "expected" else "",
        )
        for j in odd
    ]
    rows += [Record("tensorrt-fp16-cuda", skipped=f"no GPU {text}", place="retention pairs spearman")]
    rows += [Record(GOOD, skipped="no faiss: install it", place="engine faiss")]
    rows += [Record(f"server-{text}", judgement=Judgement("effective", f"server-{text}", "pass", text))]
    rows += [Record("broken-int8-cpu", error=f"ValueError: {text}")]
    rows += _upgraded()
    summary = _session(rows, base=_base(text))
    summary.changes = [(GOOD, "pairs", text, "0.8220", "0.8226", "+0.0006")]
    summary.trouble.append(f"trouble {text}")
    summary.facts["trend"] = _trend(text)
    return summary


def long(judgements: int) -> Summary:
    """A session with so many judgements."""
    more = [
        Judgement("contract", GOOD, "pass", "fine", f"dataset {i % 40}", f"metric {i}", value=i / 1000, n=i)
        for i in range(judgements)
    ]
    return _session([*_row(REFERENCE), *_row(GOOD, keeps=0.9998, more=more)])


MADE: dict[str, Callable[[], Summary]] = {
    "green": green,
    "worse": worse,
    "drifted": drifted,
    "unapproved": unapproved,
    "upgrade": upgrade,
    "everything": lambda: everything(hostile=False),
}


def _unknown(text: str) -> Diagnosis:
    ruled_out = tuple(Tried(f"{fault} {text}", 0.63 + fault / 10) for fault in range(5))
    return Diagnosis("unknown", text, text, Proof("read", texts=24, tried=ruled_out, untried=(text,) * 5))


def _upgraded() -> Iterator[Record]:
    for record in upgrade().upgrade.judgements:
        yield Record("", judgement=record)


def _session(records: Sequence[Record], **more: Any) -> Summary:
    collector = Collector(facts=_facts(), **more)
    collector.records += records
    return summarise(collector, CheckRegistry().known)


def _row(name: str, keeps: float = 1.0, more: Sequence[Judgement] = ()) -> Iterator[Record]:
    luck = random.Random(name)
    reference = name == REFERENCE
    speed = (
        {}
        if reference
        else {"batch_32_medium": replace(SPEED, ratio=luck.uniform(0.25, 0.95)), "batch_1_medium": _latency(luck)}
    )
    run = RunFacts(
        Evidence("cpu", 4, 45_434_624, {"int8": 36}, "acme 1.2.3", artefact_bytes=47_000_000),
        1.2,
        3.4,
        1207,
        384,
        speed,
        FOOTPRINT,
    )
    yield Record(name, reference, Judgement("effective", name, "pass", "36 products in int8"), run=run)
    if not reference:
        for dataset, metric, value in DATASETS:
            yield Record(name, judgement=_retention(name, dataset, metric, value, keeps + luck.uniform(-0.001, 0.001)))
    for judgement in more:
        yield Record(name, reference, judgement)


def _latency(luck: random.Random) -> SpeedFigures:
    return replace(
        SPEED,
        ratio=luck.uniform(0.5, 1),
        candidate_latency_ms=Latency(72, 1.7, 1.8, 2.5, 2.6),
        reference_latency_ms=Latency(63),
    )


def _retention(name: str, dataset: str, metric: str, value: float, kept: float, check: str = "retention") -> Judgement:
    limit, width = 0.99, 0.004
    verdict = "pass" if kept - width > limit else "fail" if kept + width < limit else "inconclusive"
    whose = "incumbent" if check == "upgrade" else "reference"
    message = f"keeps {kept:.2%} of the {whose}'s {metric} on {dataset} ({value * kept:.4f} of {value:.4f}), {limit:.2%} is required"
    red = verdict == "fail"
    return Judgement(
        check,
        name,
        verdict,
        message,
        dataset,
        metric,
        value=value * kept,
        reference_value=value,
        observed=kept,
        low=kept - width,
        high=kept + width,
        limit=limit,
        n=323,
        items_needed=900 if verdict == "inconclusive" else None,
        diagnosis=POOLING if red else None,
        details=("lost most in slices: negation -0.1046 (97 items), short -0.0787 (70 items); -0.0700 overall",)
        if red
        else (),
        worst=WORST if red else (),
        slices=tuple(
            Slice(part, 40 + place, value * (kept - place / 90), value)
            for place, part in enumerate(("short", "numerals", "negation"))
        ),
    )


def _facts() -> dict[str, Any]:
    return {
        "created": "2026-11-29T22:14:03+00:00",
        "model": {"name": "all-MiniLM-L6-v2", "source": "models/minilm", "fingerprint": "9f" * 32},
        "profile": "cpu-x86_64-amx",
        "profiles": {},
        "machine": {"cpu": "Acme Xeon 8481C", "gpu": None, "os": "Linux 6.1", "python": "3.11.9"},
        "libraries": {"torch": "2.11.0", "onnxruntime": "1.26.1", "sentence-transformers": "6.0.0"},
        "threads": 4,
        "batch_size": 32,
        "texts": 1207,
        "depth": "standard",
        "checks": {"asked": 34, "whole": 57, "of": {}},
        "trend": _trend("one text at a time takes longer under autocast"),
        "expectations": {
            "pairs": {
                "entry": {
                    "combination": "torch-int8-cpu",
                    "dataset": "pairs",
                    "check": "*",
                    "metric": "recall_at_10",
                    "profile": "*",
                    "kind": "quantization",
                    "reason": "loses",
                    "link": "https://example.org/issue",
                    "expires": "",
                },
                "met": ["fail"],
            }
        },
        "base": {},
    }


def _trend(reason: str) -> dict[str, Any]:
    approvals = {}
    for place, (commit, when) in enumerate(
        (("ab" * 20, "2026-06-02T09:00:00Z"), ("cd" * 20, "2026-08-14T12:30:00Z"), ("ef" * 20, "2026-10-30T17:45:00Z"))
    ):
        values = {
            name: {dataset: {metric: value * (1 - loss + 0.0007 * place)} for dataset, metric, value in DATASETS}
            for name, loss in ((REFERENCE, 0), (GOOD, 0.002), (BAD, 0.006), (OTHERS[0], 0.004))
        }
        approvals[commit] = {
            "when": when,
            "model": "9f" * 32,
            "values": values,
            "by": {name: {"who": "Maintainer <m@example.org>", "reason": reason} for name in values},
        }
    return {
        "missing": "",
        "profiles": {
            "cpu-x86_64-amx": {"file": "baselines/cpu-x86_64-amx/all-MiniLM-L6-v2.json", "approvals": approvals}
        },
    }


def _base(text: str) -> dict[str, Any]:
    return {
        "ref": "origin/main",
        "commit": "ab" * 20,
        "folder": "baselines",
        "missing": "",
        "differences": [f"tolerances.toml: retention 0.99 -> 0.95 {text}"],
        "trouble": [],
        "counts": False,
        "judged": True,
    }
