"""Texts without labels, such as a log of queries, are judged by how near a combination stays to the reference there."""

import json
import re

import numpy as np
import pytest
from helpers.faults import Wrapped, sound
from helpers.prompted import with_prompts

from embedgate.checks.facts import facts_of
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.report.facts import lines
from embedgate.runtime.portions import Needs

MINE = Combination.parse("mine-int8-cpu")
WORDS = (
    "red blue green small large old new quick slow warm cold bright dark round flat tall car house river tree".split()
)
# Of fewer, a first percentile says nothing.
ALL = 320
METRICS = ("cosine_mean", "cosine_p01", "cosine_min", "top10_overlap", "neighbour_rank_correlation")


def queries(count=ALL):
    rng = np.random.default_rng(0)
    return [f"{' '.join(rng.choice(WORDS, 3 + number % 5))} {number}" for number in range(count)]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Queries, some of them more than once."""
    file = tmp_path_factory.mktemp("data") / "log.txt"
    texts = queries()
    file.write_text("\n".join([*texts, "", *texts[:9]]) + "\n", "utf-8")
    return file


@pytest.fixture
def context_on(context_with):
    made = []

    def make(factory, *data, **options):
        options = {"combinations": (MINE.id,), "data": tuple(map(str, data)), **options}
        made.append(context_with({MINE.id: factory}, **options))
        return made[-1]

    yield make
    for context in made:
        context.close()


def agreement(context, of="log"):
    return {metric: context.ask("agreement", MINE, f"{of}-{metric}") for metric in METRICS}


def verdicts(found):
    return {metric: judgement.verdict for metric, judgement in found.items()}


def noisy(path, _):
    def tamper(rows, texts):
        noise = np.random.default_rng(len(texts)).normal(size=rows.shape).astype(np.float32)
        moved = rows + 0.5 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    return Wrapped(path, tamper)


class Cut:
    """Reads the first word of a text alone."""

    def __init__(self, path, _):
        self.model = sound(path, _)

    def encode(self, texts, batch_size=32):
        return self.model.encode([text.split()[0] if text.split() else text for text in texts], batch_size=batch_size)


def mixed_up(path, _):
    return Wrapped(path, lambda rows, _: np.roll(rows, 1, axis=0))


def test_a_sound_encoder_is_green_by_every_metric(context_on, log):
    found = agreement(context_on(sound, log))
    assert verdicts(found) == dict.fromkeys(METRICS, "pass")
    assert {judgement.dataset for judgement in found.values()} == {"log"}
    assert found["cosine_mean"].message.startswith("cosine_mean 1.0000 over 320 texts of log, 0.9800 is required")


@pytest.mark.parametrize("fault", [noisy, Cut, mixed_up])
def test_a_fault_is_red_and_shows_the_texts_that_moved(context_on, log, fault):
    found = agreement(context_on(fault, log))
    assert verdicts(found) == dict.fromkeys(METRICS, "fail")
    judged = found["cosine_mean"]
    assert f"over 320 texts of log, {judged.limit:.4f} is required; even the better end" in judged.message
    assert len(judged.worst) == 5
    assert {each.text for each in judged.worst} <= set(queries())


def test_nan_is_red_by_its_name(context_on, log):
    def tamper(rows, _):
        rows[0] = np.nan
        return rows

    judged = context_on(lambda path, _: Wrapped(path, tamper), log).ask("agreement", MINE, "log-cosine_mean")
    assert judged.verdict == "fail"
    assert judged.message.startswith("log cosine_mean cannot be measured: ")


class TestSubjects:
    def subjects(self, context):
        return [subject.id for subject in context.checks.named("agreement").over(context.plan)]

    def test_one_log_is_all_there_is_and_judged_once(self, context_on, log):
        context = context_on(sound, log)
        assert self.subjects(context) == [f"log-{metric}" for metric in METRICS]
        assert not list(context.checks.named("retention").over(context.plan))

    def test_beside_other_data_it_is_judged_by_itself_too(self, context_on, log, few):
        context = context_on(sound, log, few)
        assert self.subjects(context) == [*METRICS, *(f"log-{metric}" for metric in METRICS)]

    def test_neighbours_are_looked_up_among_its_own_texts(self, context_on, log, few):
        alone, beside = (context_on(noisy, *data) for data in ((log,), (log, few)))
        values = [context.ask("agreement", MINE, "log-top10_overlap").value for context in (alone, beside)]
        assert values[0] == pytest.approx(values[1], abs=0.02)
        assert values[1] != beside.ask("agreement", MINE, "top10_overlap").value

    def test_a_dataset_within_it_changes_nothing(self, context_on, log, tmp_path):
        part = tmp_path / "part.txt"
        part.write_text("\n".join(queries(50)), "utf-8")
        ids = self.subjects(context_on(sound, log, part))
        assert ids == [f"{name}-{metric}" for name in ("log", "part") for metric in METRICS]


def test_near_repeats_count_once(context_on, tmp_path):
    """What each query says is there twenty times: the interval is that of twelve queries, not of 240."""
    file = tmp_path / "log.txt"
    file.write_text("\n".join(f"{text}{'!' * repeat}" for text in queries(12) for repeat in range(20)), "utf-8")
    context = context_on(noisy, file)
    judged = context.ask("agreement", MINE, "log-cosine_mean")
    assert (judged.n, judged.clusters) == (240, 12)
    assert context.ask("agreement", MINE, "log-cosine_p01").low == -1, "twelve items bound no first percentile"
    assert (
        "240 items count as 12: repeated and nearly equal ones are drawn together"
        in context.plan.datasets[0].repeated()
    )


def test_texts_that_all_repeat_one_another_are_not_judged(context_on, tmp_path):
    file = tmp_path / "log.txt"
    file.write_text("\n".join(f"the one text{'!' * repeat}" for repeat in range(20)), "utf-8")
    context = context_on(sound, file)
    judged = context.ask("agreement", MINE, "log-cosine_mean")
    assert judged.unjudged
    assert "all 20 items repeat one another" in judged.message
    assert context.ask("agreement", MINE, "log-cosine_min").verdict == "pass"


class TestEarly:
    def early(self, plan):
        return Needs(frozenset({*plan.combinations, plan.reference}), frozenset())

    @pytest.fixture
    def many(self, tmp_path):
        file = tmp_path / "many.txt"
        file.write_text("\n".join(queries(900)), "utf-8")
        return file

    def test_a_sure_verdict_needs_a_part(self, context_on, many):
        context = context_on(sound, many, needs=self.early)
        judged = context.ask("agreement", MINE, "many-cosine_mean")
        assert judged.verdict == "pass"
        assert judged.n < judged.items == 900
        assert len(context.session.run(MINE).embeddings) == judged.n
        assert context.ask("agreement", MINE, "many-cosine_min").n == judged.n

    def test_neighbours_need_all(self, context_on, many):
        assert context_on(sound, many, needs=self.early).ask("agreement", MINE, "many-top10_overlap").n == 900


class TestSlices:
    @pytest.fixture
    def sliced(self, tmp_path):
        rows = [{"text": text, "slices": ["short" if len(text.split()) < 6 else "long"]} for text in queries()]
        file = tmp_path / "sliced.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return file

    def test_each_keeps_the_floor_of_the_cosine(self, context_on, sliced):
        judged = context_on(sound, sliced).ask("slices", MINE, "sliced-cosine_mean")
        assert judged.verdict == "pass"
        assert {each.name for each in judged.slices} == {"long", "short"}

    def test_a_loss_on_one_is_red(self, context_on, sliced):
        def tamper(rows, texts):
            long = [len(text.split()) >= 6 for text in texts]
            rows[long] = noisy_rows(rows[long])
            return rows

        def noisy_rows(rows):
            moved = (
                rows + 0.3 * np.random.default_rng(0).normal(size=rows.shape).astype(np.float32) / rows.shape[1] ** 0.5
            )
            return moved / np.linalg.norm(moved, axis=1, keepdims=True)

        judged = context_on(lambda path, _: Wrapped(path, tamper), sliced).ask("slices", MINE, "sliced-cosine_mean")
        assert judged.verdict == "fail"
        assert judged.message.startswith("long (")
        assert "of cosine_mean on sliced, 0.02 is tolerated" in judged.message


class TestApproved:
    def keys(self, context, combination=MINE):
        from embedgate.checks.approvals import Approvals

        found = context.of(Approvals).measured(context.session.run(combination))
        return {(dataset, metric) for dataset, _, metric in found if dataset != "ordering"}

    def test_what_it_measures_stands_under_the_name_of_the_log(self, context_on, log):
        context = context_on(sound, log)
        assert self.keys(context) == {("log", metric) for metric in METRICS}
        assert self.keys(context, MINE.reference) == set()

    def test_beside_others_all_texts_stand_there_as_well(self, context_on, log, few):
        context = context_on(sound, log, few)
        names = {dataset for dataset, _ in self.keys(context)}
        assert {"log", context.plan.texts_name} <= names

    def test_the_reference_has_nothing_to_approve(self, context_on, log):
        context = context_on(sound, log)
        judged = context.ask("baseline", MINE.reference)
        assert (judged.verdict, judged.message) == ("pass", "nothing to approve of a reference on texts without labels")
        assert context.ask("baseline", MINE).diagnosis.cause.startswith("no baseline of small is approved")


class TestRoles:
    def test_without_a_role_it_is_as_encode_has_it(self, context_on, log):
        context = context_on(sound, log)
        assert {each.role for each in context.session.texts.judged} == {""}

    def test_a_log_of_queries_is_encoded_as_queries(self, context_on, log):
        context = context_on(sound, f"{log}::role=query")
        assert {each.role for each in context.session.texts.judged} == {"query"}

    def test_a_model_that_would_encode_queries_otherwise_is_told_of(self, context_with, small, log, tmp_path):
        prompted = with_prompts(small, tmp_path)
        for keys, told in (("", True), ("::role=query", False)):
            context = context_with(model=str(prompted.path), data=(f"{log}{keys}",))
            note = (
                "log: encoded without a role, as encode does; role=query or role=document behind its name encodes these"
            )
            assert any(line.startswith(note) for line in lines(facts_of(context))) == told
            context.close()


class TestUpgrade:
    """Without labels, a way of running the same model can be held against another, and no other model."""

    def slightly(self, path, _):
        def tamper(rows, _):
            moved = rows + 0.02 * np.random.default_rng(0).normal(size=rows.shape[1]).astype(np.float32)
            return moved / np.linalg.norm(moved, axis=1, keepdims=True)

        return Wrapped(path, tamper)

    def upgrade(self, context_with, log, mine, old, **options):
        ids = (MINE.id, "old-int8-cpu")
        context = context_with(
            {MINE.id: mine, "old-int8-cpu": old},
            data=(str(log),),
            combinations=ids,
            incumbent="old-int8-cpu",
            **options,
        )
        try:
            return context.ask("upgrade", MINE, "log-top10_overlap")
        finally:
            context.close()

    def test_it_keeps_what_the_incumbent_keeps(self, context_with, log):
        judged = self.upgrade(context_with, log, sound, self.slightly)
        assert judged.verdict == "pass"
        assert "of old-int8-cpu's top10_overlap on log (1.0000 of 0." in judged.message

    def test_what_loses_more_of_its_neighbours_is_red(self, context_with, log):
        assert self.upgrade(context_with, log, noisy, sound).verdict == "fail"

    def test_another_model_is_not_judged(self, context_with, log):
        judged = self.upgrade(context_with, log, sound, mixed_up)
        assert judged.unjudged
        assert re.search(
            r"log has no labels, and \d+\.\d% of old-int8-cpu's nearest texts are those of this model: which",
            judged.message,
        )

    def test_nor_is_a_folder_of_another(self, context_with, log, model):
        context = context_with(data=(str(log),), incumbent=str(model.path))
        judged = context.ask("upgrade", context.plan.reference, "log-top10_overlap")
        assert judged.unjudged
        assert judged.diagnosis.next_step == "give data with labels as well"

    def test_nothing_can_be_better_on_it(self, context_with, log, model):
        context = context_with(data=(str(log),), incumbent=str(model.path), superior=("log",))
        with pytest.raises(GateError, match="--gate-superior: log has no labels, so nothing can be shown to be better"):
            _ = context.plan.superior
