"""Tolerances are found from special to general, and a file that means nothing is refused by its key."""

from pathlib import Path

import pytest
from helpers.paths import ROOT

from embedgate.approved.tolerances import (
    FLOOR_METRICS,
    PRODUCTS,
    SHARES,
    STORED_FLOORS,
    TASK_METRICS,
    Promise,
    Tolerances,
)
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.encoders.registry import Registry
from embedgate.metrics import METRICS

COMMITTED = ROOT / "baselines" / "tolerances.toml"
STATIC = Combination.parse("onnxruntime-int8static-cpu")
INT8 = Combination.parse("onnxruntime-int8-cpu")
BF16 = Combination.parse("torch-bf16-cpu")
FP32 = Combination.parse("openvino-fp32-cpu")
# Those whose bits were seen to come back (benchmarks/repeats.py); the reference's bits tell whether they must.
REPEATING = {
    f"{name}-cpu"
    for name in (
        "torch-bf16",
        "torch-amp",
        "bitsandbytes-int8",
        "torchao-int8",
        "onnxruntime-fp32",
        "onnxruntime-int8",
        "onnxruntime-int8static",
        "openvino-fp32",
        "openvino-bf16",
        "openvino-int8",
    )
}
WHOLE = """
alpha = 0.05
upgrade = { all = 0.02, v_measure = 0.03 }
[default]
retention = { all = 0.01, recall_at_10 = 0.02 }
slices = { all = 0.04, spearman = 0.03 }
floor = { cosine_min = 0.9 , cosine_mean = 0.98, cosine_p01 = 0.9, top10_overlap = 0.85, neighbour_rank_correlation = 0.9, order_kept = 0.9, mixed_kept_at_10 = 0.8, length_kept = 0.9 }
order = { margin = 0.1, similarity = 0.2 }
golden = { move = 0.3 }
texts = { move = 0.2 }
budget = { time = 0.04, latency = 0.08, search = 0.2, memory = 0.1, bytes = 0.01 }
drift = { all = 0.002 }
drift_inherited = { all = 0.01, spearman = 0.015 }
[weight_precision.bf16]
retention = { all = 0.001 }
slices = { spearman = 0.01 }
order = { margin = 0.01 }
budget = { latency = 0.02 }
floor = { cosine_min = 0.99, cosine_mean = 0.999 }
[weight_precision.int8static]
retention = { all = 0.03, recall_at_10 = 0.04 }
[combination."onnxruntime-int8static-cpu"]
retention = { ndcg_at_10 = 0.05 }
drift = { all = 0.005 }
"""


STORED = """
[stored.default]
kept_at_10 = 0.95
graph_kept_at_10 = 0.9
within_ranges = 0.99
rows_kept = 0.98
ndcg_at_10 = 0.02
recall_at_10 = 0.03
"""


def load(folder: Path, text: str, known: list[Combination] | None = None, over: Path | None = None) -> Tolerances:
    """Tolerances of a file; a whole one has the usual tables of stored vectors, where it has none."""
    file = folder / "tolerances.toml"
    file.write_text(text if over or "[stored" in text else text + STORED)
    return Tolerances.load(file, known, over=over)


def test_the_most_special_number_counts(tmp_path: Path) -> None:
    tolerances = load(tmp_path, WHOLE)
    assert tolerances.alpha == 0.05
    assert tolerances.retention(STATIC, "ndcg_at_10") == 0.05, "the combination's own"
    assert tolerances.retention(STATIC, "recall_at_10") == 0.04, "its weight precision's, for the metric"
    assert tolerances.retention(STATIC, "mrr_at_10") == 0.03, "its weight precision's, for all"
    assert tolerances.retention(BF16, "recall_at_10") == 0.001, "a weight precision's `all` before the default's metric"
    assert tolerances.retention(INT8, "recall_at_10") == 0.02, "the default's, for the metric"
    assert tolerances.retention(INT8, "mrr_at_10") == 0.01, "the default's, for all"


def test_a_floor_is_found_from_special_to_general(tmp_path: Path) -> None:
    tolerances = load(tmp_path, WHOLE)
    assert tolerances.floor(BF16, "cosine_mean") == 0.999
    assert tolerances.floor(BF16, "cosine_min") == 0.99
    assert tolerances.floor(INT8, "cosine_min") == 0.9
    assert tolerances.floor(INT8, "cosine_mean") == 0.98
    assert tolerances.floor(BF16, "top10_overlap") == 0.85


def test_limits_of_properties_are_found_from_special_to_general(tmp_path: Path) -> None:
    tolerances = load(tmp_path, WHOLE)
    assert tolerances.slices(BF16, "spearman") == 0.01
    assert tolerances.slices(INT8, "ndcg_at_10") == 0.04
    assert tolerances.order_margin(BF16) == 0.01
    assert tolerances.order_margin(INT8) == 0.1
    assert tolerances.order_similarity(BF16) == 0.2
    assert tolerances.golden_move(STATIC) == 0.3
    assert tolerances.texts_move(STATIC) == 0.2
    assert (tolerances.slack(BF16, "latency"), tolerances.slack(BF16, "time")) == (0.02, 0.04)
    assert tolerances.slack(STATIC, "latency") == 0.08


def test_the_same_machine_is_held_closer_where_the_file_says_so(tmp_path: Path) -> None:
    tables = "[combination.{}.golden]\nsame_machine = {}\n"
    tolerances = load(tmp_path, WHOLE + tables.format(INT8, 0.001) + tables.format(BF16, 0.5))
    assert (tolerances.golden_move(INT8), tolerances.golden_move(INT8, same_machine=True)) == (0.3, 0.001)
    assert tolerances.golden_move(STATIC, same_machine=True) == 0.3, "where the file does not say so"
    assert tolerances.golden_move(BF16, same_machine=True) == 0.3, "never wider than elsewhere"


def test_speed_is_promised_where_the_file_says_so(tmp_path: Path) -> None:
    assert load(tmp_path, WHOLE).promise(BF16, "time") is None
    tables = "[weight_precision.bf16.promise]\ntime = 1.0\n"
    tables += "[combination.torch-bf16-cpu.promise]\ntime = inf\nlatency = 0.8\nproducts = 3\n"
    text = WHOLE.replace("[weight_precision.bf16]\n", "[weight_precision.bf16]\nstability = {}\n") + tables
    tolerances = load(tmp_path, text)
    other = Combination.parse("openvino-bf16-cpu")
    assert tolerances.promise(other, "time") == Promise(1.0, PRODUCTS)
    assert tolerances.promise(other, "latency") is None
    assert tolerances.promise(BF16, "time") == Promise(float("inf"), 3.0)
    assert tolerances.promise(BF16, "latency") == Promise(0.8, 3.0)
    with pytest.raises(GateError, match=r"promise\.latency: expected `float` > 0\.0; .* a promise any number above 0"):
        load(tmp_path, text.replace("0.8", "0.0"))


def test_the_committed_file_promises_nothing_of_what_is_kept_for_its_memory() -> None:
    tolerances = Tolerances.load(COMMITTED)
    promising = {each.id for each in Registry() if tolerances.promise(each, "time")}
    assert "onnxruntime-int8-cpu" in promising
    assert not {id_ for id_ in promising if id_.startswith(("bitsandbytes", "torchao")) or "fp32" in id_}
    assert all(id_.endswith("-cpu") for id_ in promising)


def test_an_inherited_baseline_has_a_drift_of_its_own(tmp_path: Path) -> None:
    tolerances = load(tmp_path, WHOLE)
    assert tolerances.drift(INT8, "spearman", inherited=False) == 0.002
    assert tolerances.drift(INT8, "spearman", inherited=True) == 0.015
    assert tolerances.drift(STATIC, "spearman", inherited=False) == 0.005
    assert tolerances.drift(STATIC, "mrr_at_10", inherited=True) == 0.01


def test_an_upgrade_has_a_tolerance_of_its_own(tmp_path: Path) -> None:
    tolerances = load(tmp_path, WHOLE)
    assert tolerances.upgrade("v_measure") == 0.03
    assert tolerances.upgrade("ndcg_at_10") == 0.02
    assert tolerances.superior("ndcg_at_10") == 0.0, "any gain is enough where the file asks for no more"


def test_an_added_combination_may_have_tolerances(tmp_path: Path) -> None:
    registry = Registry()
    registry.add("acme-int4-cpu", lambda path, device: None)
    text = WHOLE + "[weight_precision.int4.retention]\nall = 0.2\n"
    tolerances = load(tmp_path, text, list(registry))
    assert tolerances.retention(Combination.parse("acme-int4-cpu"), "ndcg_at_10") == 0.2
    with pytest.raises(GateError, match=r"unknown key weight_precision\.int4; did you mean int8\?"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alpha =", "alfa =", "unknown key alfa; did you mean alpha?"),
        ("retention = { all = 0.01", "retension = { all = 0.01",
         "unknown key default.retension; did you mean retention?"),
        ("recall_at_10 = 0.02", "recal_at_10 = 0.02",
         "unknown key default.retention.recal_at_10; did you mean recall_at_10?"),
        ("cosine_min = 0.9 ", "ndcg_at_10 = 0.9 ", "unknown key default.floor.ndcg_at_10; choose from cosine_mean, "
         "cosine_min, cosine_p01, length_kept, mixed_kept_at_10, neighbour_rank_correlation, order_kept, top10_overlap"),
        ("latency = 0.08", "latncy = 0.08", "unknown key default.budget.latncy; did you mean latency?"),
        (", latency = 0.08", "", "default.budget.latency is missing; set it"),
        ("margin = 0.1", "margn = 0.1", "unknown key default.order.margn; did you mean margin?"),
        ("{ move = 0.3 }", "{}",
         "default.golden.move is missing; set it"),
        ("weight_precision.bf16", "weight_precision.bf61", "unknown key weight_precision.bf61; did you mean bf16?"),
        ("onnxruntime-int8static-cpu", "onnxruntime-int8statc-cpu",
         'unknown key combination."onnxruntime-int8statc-cpu"; did you mean onnxruntime-int8static-cpu?'),
        ("v_measure = 0.03", "v_measure = 3",
         f"upgrade.v_measure: expected `float` < 1.0; {SHARES}"),
        ("{ all = 0.002 }", "{ all = -0.1 }",
         f"default.drift.all: expected `float` >= 0.0; {SHARES}"),
        ("{ all = 0.002 }", "{ all = nan }",
         f"default.drift.all: expected `float` >= 0.0; {SHARES}"),
        ("alpha = 0.05", "alpha = 0", f"alpha: expected `float` > 0.0; {SHARES}"),
        ("alpha = 0.05", "alpha = true", f"alpha: expected `float`, got `bool`; {SHARES}"),
        ("{ all = 0.002 }", '{ all = "0.002" }', f"default.drift.all: expected `float`, got `str`; {SHARES}"),
        ("{ all = 0.002 }", "0.002", f"default.drift: expected `object`, got `float`; {SHARES}"),
        ("alpha = 0.05", "", "alpha is missing; set it"),
        ("{ all = 0.002 }", "{ v_measure = 0.002 }",
         "default.drift.all is missing; set it"),
        ("{ all = 0.02, v_measure = 0.03 }", "{}",
         "upgrade.all is missing; set it"),
    ],
)  # fmt: skip
def test_a_key_or_number_that_means_nothing_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(GateError) as caught:
        load(tmp_path, WHOLE.replace(old, new, 1))
    assert str(caught.value) == f"{tmp_path / 'tolerances.toml'}: {message}"


def test_bad_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(GateError) as caught:
        load(tmp_path, "alpha = 0.05\nupgrade = {\n")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'tolerances.toml'} is no TOML: ")
    assert "line 2" in message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError) as caught:
        Tolerances.load(tmp_path / "tolerances.toml")
    assert str(caught.value) == (
        f"{tmp_path / 'tolerances.toml'} is missing; copy embedgate's own baselines/tolerances.toml there"
    )


def test_the_committed_file_answers_every_question() -> None:
    tolerances = Tolerances.load(COMMITTED)
    assert {*TASK_METRICS, *FLOOR_METRICS, *STORED_FLOORS} == set(METRICS)
    for combination in Registry():
        for metric in FLOOR_METRICS:
            floor = tolerances.floor(combination, metric)
            assert floor is not None
            assert 0.5 < floor < 1
        for metric in TASK_METRICS:
            assert 0 < tolerances.retention(combination, metric) < 0.1
            assert 0 < tolerances.upgrade(metric) < 0.1
        assert 0 < tolerances.order_margin(combination) < tolerances.order_similarity(combination) + 1e-9 < 0.2
        assert 0 < tolerances.golden_move(combination) < 0.5
        assert 0 < tolerances.texts_move(combination) < 0.5 or combination.weight_precision == "nf4"
        assert (tolerances.golden_move(combination, same_machine=True) == 1e-4) == (combination.id in REPEATING)
        for metric in METRICS:
            exact = tolerances.drift(combination, metric, inherited=False)
            assert 0 < exact <= tolerances.drift(combination, metric, inherited=True) < 0.1


def test_the_committed_file_starts_from_mlperf() -> None:
    tolerances = Tolerances.load(COMMITTED)
    assert tolerances.retention(BF16, "spearman") == 0.001
    assert tolerances.retention(INT8, "spearman") == 0.01
    assert tolerances.retention(FP32, "spearman") < 0.001


class TestOver:
    """A project's file holds what differs from embedgate's."""

    def test_what_it_does_not_say_is_embedgates(self, tmp_path):
        own, bundled = load(tmp_path, "", over=COMMITTED), Tolerances.load(COMMITTED)
        assert own.numbers == bundled.numbers
        assert own.differences == []
        assert own.tables_apart(bundled, INT8) == set()
        assert bundled.differences == []

    def test_a_number_replaces_one(self, tmp_path):
        own, bundled = load(tmp_path, "[default.floor]\ncosine_min = 0.7\n", over=COMMITTED), Tolerances.load(COMMITTED)
        other = Combination.parse("torch-int4-cpu")
        assert own.floor(other, "cosine_min") == 0.7
        assert own.floor(other, "cosine_mean") == bundled.floor(other, "cosine_mean")
        assert own.floor(INT8, "cosine_min") == bundled.floor(INT8, "cosine_min"), "int8 has a table of its own"
        assert own.differences == ["default.floor.cosine_min: 0.9 -> 0.7 (looser)"]

    def test_all_replaces_the_table(self, tmp_path):
        own = load(tmp_path, "[weight_precision.int8.retention]\nall = 0.005\n", over=COMMITTED)
        assert own.retention(INT8, "recall_at_10") == own.retention(INT8, "spearman") == 0.005
        assert "weight_precision.int8.retention.all: 0.01 -> 0.005 (stricter)" in own.differences
        assert "weight_precision.int8.retention.recall_at_10: 0.03 -> unset (0.005 holds) (stricter)" in own.differences

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("alpha = 0.1\n", "alpha: 0.05 -> 0.1 (looser)"),
            ("[combination.torch-bf16-cpu.drift]\nall = 0.9\n", "combination.torch-bf16-cpu.drift.all: unset (0.002 holds) -> 0.9 (looser)"),
            ("[default.promise]\ntime = inf\n", "default.promise.time: unset -> inf"),
            ("[default.promise]\ntime = 1.0\n", "default.promise.time: unset -> 1.0 (stricter)"),
            ("[stored.int8-rescore16]\nkept_at_10 = 0.99\n", ""),
            ("[stored.binary-rescore4]\nwithin_ranges = 0.5\n", "stored.binary-rescore4.within_ranges: unset (0.99 holds) -> 0.5 (looser)"),
            ("[upgrade]\nall = 0.05\n", "upgrade.recall_at_10: 0.02 -> unset (0.05 holds) (looser)"),
            ("[default.golden]\nsame_machine = 0.01\n", "default.golden.same_machine: unset -> 0.01 (stricter)"),
        ],
    )  # fmt: skip
    def test_what_held_without_a_number_is_told_with_it(self, tmp_path, text, told):
        if not told:
            with pytest.raises(GateError):
                load(tmp_path, text, over=COMMITTED)
        else:
            assert told in load(tmp_path, text, over=COMMITTED).differences

    def test_a_looser_share_of_what_is_stored_is_the_lower_one(self, tmp_path):
        text = "[stored.int8]\nkept_at_10 = 0.5\nndcg_at_10 = 0.04\n"
        assert load(tmp_path, text, over=COMMITTED).differences == [
            "stored.int8.kept_at_10: 0.65 -> 0.5 (looser)",
            "stored.int8.ndcg_at_10: 0.05 -> 0.04 (stricter)",
        ]

    def test_the_tables_that_differ_for_a_combination_are_named(self, tmp_path):
        text = "alpha = 0.1\n[combination.onnxruntime-int8-cpu.floor]\ncosine_min = 0.7\n"
        own, bundled = load(tmp_path, text, over=COMMITTED), Tolerances.load(COMMITTED)
        assert own.tables_apart(bundled, INT8) == {"alpha", "floor"}
        assert own.tables_apart(bundled, BF16) == {"alpha"}

    def test_a_misspelt_key_is_refused(self, tmp_path):
        with pytest.raises(GateError, match=r"unknown key default\.flor; did you mean floor\?"):
            load(tmp_path, "[default.flor]\ncosine_min = 0.7\n", over=COMMITTED)


class TestStored:
    TABLES = """
[stored]
default = { kept_at_10 = 0.95, graph_kept_at_10 = 0.9, within_ranges = 0.99, rows_kept = 0.98, ndcg_at_10 = 0.02, recall_at_10 = 0.03 }
int8 = { kept_at_10 = 0.6 }
int8-rescore4 = { kept_at_10 = 0.97 }
truncated = { kept_at_10 = 0.7 }
256d-int8-rescore4 = { kept_at_10 = 0.75 }
"""

    def test_the_most_special_number_counts(self, tmp_path):
        tolerances = load(tmp_path, WHOLE + self.TABLES)
        asked = {
            "int8-rescore4": 0.97,
            "int8-rescore2": 0.6,
            "int8": 0.6,
            "binary": 0.95,
            "256d-int8-rescore4": 0.75,
            "256d-binary-rescore4": 0.7,
        }
        assert {storage: tolerances.stored(storage, "kept_at_10") for storage in asked} == asked
        assert tolerances.stored("int8", "ndcg_at_10") == 0.02

    def test_an_engine_has_its_own_floor_or_the_default(self, tmp_path):
        """Whatever its name begins with."""
        assert load(tmp_path, WHOLE + self.TABLES).engine("int8-acme") == 0.95

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ("int9 = { kept_at_10 = 0.6 }", "unknown key stored.int9; did you mean int8?"),
            ("int8 = { kept_at_1 = 0.6 }", "unknown key stored.int8.kept_at_1; did you mean kept_at_10?"),
            ("acme = { kept_at_10 = 0.6 }", "unknown key stored.acme"),
        ],
    )
    def test_a_misspelt_storage_is_refused(self, tmp_path, wrong, message):
        with pytest.raises(GateError, match=message.replace("?", ".")):
            load(tmp_path, WHOLE + self.TABLES.replace("int8 = { kept_at_10 = 0.6 }", wrong))

    def test_an_engine_of_ones_own_may_have_a_table(self, tmp_path):
        file = tmp_path / "tolerances.toml"
        file.write_text(WHOLE + self.TABLES.replace("int8 = {", "acme = {"))
        assert Tolerances.load(file, engines=("acme",)).engine("acme") == 0.6
