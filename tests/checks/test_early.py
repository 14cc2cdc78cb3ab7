"""A verdict that is certain is reached on a part of the items; one that is not, and every red one, on all of them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.faults import Wrapped, sound

from embedgate.checks import Case, Check
from embedgate.checks.context import needs_of
from embedgate.core.combination import Combination
from embedgate.runtime.portions import Needs

PAIRS = 620
WORDS = "red blue green small large old new quick slow warm cold bright dark round flat tall".split()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Pairs that share more or fewer of their words, graded by how many."""
    rng, rows = np.random.default_rng(0), []
    for number in range(PAIRS):
        words, changed = rng.choice(WORDS, 6).tolist(), number % 6
        other = [*words[changed:], *rng.choice(WORDS, changed).tolist()]
        rows.append({"sentence1": f"{' '.join(words)} {number}", "sentence2": " ".join(other), "score": 6 - changed})
    file = tmp_path_factory.mktemp("data") / "many.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def early(plan):
    """What a session needs that asks nothing but quality."""
    return Needs(frozenset({*plan.combinations, plan.reference}), frozenset())


@pytest.fixture
def judged(context_with, many):
    """Judges an encoder on the pairs: retention, agreement by the mean, and what it has encoded."""

    def judge(factory, needs=early):
        context = context_with(
            {"mine-int8-cpu": factory}, data=(str(many),), combinations=("mine-int8-cpu",), needs=needs
        )
        combination = Combination.parse("mine-int8-cpu")
        found = [
            context.ask("retention", combination, "many-spearman"),
            *(context.ask("agreement", combination, metric) for metric in ("cosine_mean", "cosine_min")),
        ]
        session = context.session
        encoded = len(session.run(combination).embeddings), len(session.run(combination.reference).embeddings)
        everything = len(session.texts.judged)
        context.close()
        return found, encoded, everything

    return judge


def test_a_sound_encoder_passes_on_a_part(judged):
    (kept, mean, least), encoded, everything = judged(sound)
    assert {each.verdict for each in (kept, mean, least)} == {"pass"}
    assert (kept.n, kept.items) == (PAIRS // 3, PAIRS)
    assert f"{PAIRS // 3} of {PAIRS} items decide" in kept.message
    assert mean.n < mean.items == everything
    assert encoded[0] == encoded[1] < 0.5 * everything
    assert least.n == encoded[0], "of a least item, all that are encoded are looked at"


def test_a_lossy_encoder_is_red_on_all_items_and_as_by_one_look(judged):
    def noise(path, _):
        def tamper(found, texts):
            moved = found + 2.0 * np.stack([np.random.default_rng(len(t)).normal(size=found.shape[1]) for t in texts])
            return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)

        return Wrapped(path, tamper)

    found, encoded, everything = judged(noise)
    whole, _, _ = judged(noise, needs=lambda plan: None)
    assert [each.verdict for each in found] == ["fail"] * 3
    assert [each.n for each in found] == [PAIRS, everything, everything]
    assert encoded == (everything, everything)
    for mine, other in zip(found, whole, strict=True):
        assert mine.value == pytest.approx(other.value, abs=1e-5)
        assert mine.high == pytest.approx(other.high, abs=1e-5), "the end that makes it red is that of one look"
        assert mine.diagnosis.layer == other.diagnosis.layer
        assert [each.text for each in mine.worst] == [each.text for each in other.worst]


@pytest.mark.parametrize("metric", ["top10_overlap", "neighbour_rank_correlation"])
def test_neighbours_are_looked_up_among_all_texts(context_with, many, metric):
    """Among fewer texts, neighbours lie farther apart and are kept more easily."""
    combination = Combination.parse("mine-int8-cpu")
    early = frozenset({combination, combination.reference})
    context = context_with(
        {"mine-int8-cpu": sound},
        data=(str(many),),
        combinations=(combination.id,),
        needs=lambda _: Needs(early=early, searched=frozenset()),
    )
    case = context.checks.case(context.plan, "agreement", combination, metric)
    assert not case.is_within(context.plan, "quick")
    judged = context.judge(case)
    everything = len(context.session.texts.judged)
    assert judged.verdict == "pass"
    assert len(context.session.run(combination).embeddings) == everything
    assert judged.n == min(2000, everything)
    context.close()


def test_what_is_lost_beyond_the_part_is_found_where_the_part_was_not_certain(judged):
    """A loss that leaves the first part open is judged on all items, whose verdict counts."""

    def some(path, _):
        def tamper(found, texts):
            lost = np.array([len(text) % 4 == 0 for text in texts])
            found[lost] = np.roll(found[lost], 1, axis=1)
            return found

        return Wrapped(path, tamper)

    (kept, mean, *_), encoded, everything = judged(some)
    assert {kept.verdict, mean.verdict} <= {"fail", "inconclusive"}
    assert kept.n == PAIRS
    assert encoded == (everything, everything)


class TestNeeds:
    """Who may decide on a part."""

    def needs(self, context, *names):
        combination = Combination.parse("torch-bf16-cpu")
        cases = [context.checks.case(context.plan, name, combination, subject) for name, subject in names]
        return needs_of(context.plan, cases)

    def test_quality_alone_needs_a_part(self, context_with, few):
        context = context_with(data=(str(few),))
        found = self.needs(context, ("retention", "mine-spearman"), ("effective", ""))
        assert {Combination.parse("torch-bf16-cpu"), context.plan.reference} <= found.early
        assert found.searched == frozenset()

    def test_beside_what_has_all_texts_the_reference_needs_all(self, context_with, few, tmp_path):
        """Else all of them would be compared with a part, and be judged as by one look at all."""
        context = context_with({"acme-int8-cpu": sound}, data=(str(few),), combinations=("acme-int8-cpu",))
        acme = Combination.parse("acme-int8-cpu")
        cases = [context.checks.case(context.plan, "agreement", acme, "cosine_mean")]
        assert {acme, acme.reference} <= needs_of(context.plan, cases).early
        recorded = SimpleNamespace(
            encoding=context.plan.encoding,
            settings=context.plan.settings,
            is_live=lambda combination: combination != acme,
            recording=lambda _: None,
        )
        assert needs_of(recorded, cases).early.isdisjoint({acme, acme.reference})

    def test_a_check_of_a_host_needs_all_unless_it_says_otherwise(self, context_with, few):
        context = context_with(data=(str(few),))
        combination = Combination.parse("torch-bf16-cpu")
        assert needs_of(context.plan, [Case(Check("extent", print), combination)]).early.isdisjoint(
            {combination, combination.reference}
        )
        assert combination in needs_of(context.plan, [Case(Check("extent", print, texts="some"), combination)]).early

    def test_what_is_held_against_a_baseline_needs_all(self, context_with, few):
        found = self.needs(context_with(data=(str(few),)), ("retention", "mine-spearman"), ("baseline", ""))
        assert not {"torch-bf16-cpu", "torch-fp32-cpu"} & {each.id for each in found.early}

    def test_what_is_searched_needs_all(self, context_with, many):
        found = self.needs(context_with(data=(str(many),)), ("codes", "int8"))
        assert {each.id for each in found.searched} == {"torch-bf16-cpu", "torch-fp32-cpu"}
        assert not found.searched & found.early

    @pytest.mark.parametrize("options", [{"update": True, "reason": "because"}, {"depth": "nightly"}])
    def test_an_update_and_the_night_need_all(self, context_with, few, options):
        found = self.needs(context_with(data=(str(few),), **options), ("retention", "mine-spearman"))
        assert found.early == frozenset()

    def test_budgets_alone_need_no_text(self, context_with, few):
        context = context_with(data=(str(few),))
        found = self.needs(context, ("speed", "batch_32_medium"), ("memory", ""), ("size", ""), ("products", ""))
        assert {"torch-bf16-cpu", "torch-fp32-cpu"} <= {each.id for each in found.none}
        assert Combination.parse("torch-bf16-cpu") not in self.needs(context, ("size", ""), ("effective", "")).none


def test_what_no_check_needs_a_text_of_encodes_none_until_one_is_needed(context_with, few):
    combination = Combination.parse("torch-bf16-cpu")
    context = context_with(
        data=(str(few),),
        combinations=(combination.id,),
        needs=lambda plan: Needs(none=frozenset({combination, plan.reference}), searched=frozenset()),
    )
    assert context.ask("products", combination).n is None
    session = context.session
    run = session.run(combination)
    assert len(run.embeddings) == 1
    assert not session.is_whole(run)
    assert context.ask("agreement", combination, "cosine_mean").n == len(session.texts.judged)
    assert session.is_whole(run)
    context.close()
