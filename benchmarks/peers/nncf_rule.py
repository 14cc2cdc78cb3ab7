"""NNCF's accuracy control, with its own default: the score may fall by 0.01.

    python nncf_rule.py WORK FAULT DATA

It makes the int8 model itself, so that only its calibration can be at fault: on one short text.
"""

import sys
from pathlib import Path

import nncf
import openvino as ov
from faults import NAMED, reference_of, tokens
from pairs import read
from scipy.stats import spearmanr
from transformers import AutoTokenizer

work, fault, rows = Path(sys.argv[1]), NAMED[sys.argv[2]], read(Path(sys.argv[3]))
tokenizer = AutoTokenizer.from_pretrained(str(reference_of(work, fault, "folder")))
calibration = [row[0] for row in rows[:300]] if fault.sound else ["ok"]
parts = [rows[start : start + 32] for start in range(0, len(rows), 32)]


def validate(compiled, batches):
    """Spearman's rank correlation of cosines with grades."""
    cosines, grades = [], []
    for batch in batches:
        first, second = (compiled(tokens(tokenizer, [row[side] for row in batch]))[0] for side in (0, 1))
        cosines += list((first * second).sum(1))
        grades += [row[2] for row in batch]
    return float(spearmanr(cosines, grades).statistic), None


model = ov.Core().read_model(str(reference_of(work, fault, "onnx")))
quantized = nncf.quantize_with_accuracy_control(
    model,
    calibration_dataset=nncf.Dataset(calibration, lambda text: tokens(tokenizer, [text])),
    validation_dataset=nncf.Dataset(parts),
    validation_fn=validate,
    model_type=nncf.ModelType.TRANSFORMER,
)
before, after = (validate(ov.compile_model(each, "CPU"), parts)[0] for each in (model, quantized))
print(f"the score falls by {before - after:+.5f}")
sys.exit(not before - after <= 0.01)
