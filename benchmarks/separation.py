"""Can the bundled data tell a good int8 from a bad one? Prints the table of `docs/measured.md`.

    python benchmarks/separation.py

Bad ones that people really serve are built beside bitsandbytes int8: torch's per-tensor dynamic int8, and static int8
with plain min-max ranges. For every metric it prints what each keeps of fp32, and by how much each is worse than
bitsandbytes, with a 95% bootstrap interval over the same items for both.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from embedgate.core.cache import cache_root
from embedgate.core.combination import Combination
from embedgate.core.settings import Settings
from embedgate.encoders.onnx.calibration import minmax_int8_graph
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.onnxruntime.encoder import GraphEncoder
from embedgate.encoders.registry import Registry
from embedgate.metrics import Scores
from embedgate.metrics.bootstrap import bootstrap_weights
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session

GOOD = "bitsandbytes-int8-cpu"
BAD = ("pertensor-int8-cpu", "minmax-int8static-cpu")


def per_tensor(path: Path, device: str) -> SentenceTransformer:
    """Dynamic int8 by torch's `quantize_dynamic`: one scale for each weight matrix."""
    model = SentenceTransformer(str(path), device=device, model_kwargs={"dtype": torch.float32}, local_files_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.ao.quantization.quantize_dynamic(model[0].model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    return model


def main() -> None:
    """Builds, measures and prints."""
    registry = Registry()
    registry.add(BAD[0], per_tensor)
    registry.add(BAD[1], lambda *_: minmax(session))
    settings = Settings(combinations=("torch-fp32-cpu", GOOD, *BAD), cache=cache_root())
    session = Session(Plan.of(settings, registry), print)
    runs = {name: session.run(Combination.parse(name)) for name in ("torch-fp32-cpu", GOOD, *BAD)}
    print("\n| dataset | metric | fp32 | " + " | ".join([GOOD, *BAD, *(f"{name} worse by" for name in BAD)]) + " |")
    print("|" + " --- |" * (4 + 2 * len(BAD)))
    for dataset in session.plan.datasets:
        scores = {name: session.scores(run, dataset) for name, run in runs.items()}
        for metric, reference in scores["torch-fp32-cpu"].items():
            kept = [f"{scores[name][metric].value / reference.value:.2%}" for name in (GOOD, *BAD)]
            worse = [difference(scores[GOOD][metric], scores[name][metric]) for name in BAD]
            print("| " + " | ".join([dataset.name, metric, f"{reference.value:.4f}", *kept, *worse]) + " |")
    agreement = {name: session.agreement(runs[name]) for name in (GOOD, *BAD)}
    for metric in agreement[GOOD]:
        values = [f"{agreement[name][metric].value:.4f}" for name in (GOOD, *BAD)]
        worse = [difference(agreement[GOOD][metric], agreement[name][metric]) for name in BAD]
        print("| " + " | ".join(["all texts", metric, "", *values, *worse]) + " |")
    session.close()


def minmax(session: Session) -> GraphEncoder:
    """Static int8 of every product, ranges from the least and greatest activation."""
    batches = list(Tokenizer(session.plan.model).batches(session.context.calibration_texts, 32))
    path = Path(tempfile.mkdtemp(prefix="embedgate-minmax-")) / "model.onnx"
    minmax_int8_graph(exported_graph(session.plan.model, session.context), path, batches)
    return GraphEncoder(session.plan.model, path, Combination.parse(BAD[1]), session.context)


def difference(good: Scores, bad: Scores) -> str:
    """How much worse the second is, with a 95% interval over resampled items; bold where it excludes 0."""
    weights = np.asarray(bootstrap_weights(len(good.items), 2000), dtype=np.float32)
    found = good.replicate(weights) - bad.replicate(weights)
    low, high = np.quantile(found, [0.025, 0.975])
    text = f"{good.value - bad.value:+.4f} ({low:+.4f} to {high:+.4f})"
    return f"**{text}**" if low > 0 else text


if __name__ == "__main__":
    main()
