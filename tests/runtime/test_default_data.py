"""What a session judges on where no data is named: what is bundled in the languages that the model's card claims."""

from __future__ import annotations

import pytest
from helpers.fake_hub import Hub

from embedgate.core.languages import NAMES
from embedgate.core.settings import Settings
from embedgate.data import Dataset, bundled, load_bundled
from embedgate.data.cards import CLAIMED, bundled_cards
from embedgate.report import facts
from embedgate.runtime.data import NO_CARD, NO_LANGUAGES, data_of

ALWAYS = ("pairs", "passages", "topics", "triplets")
CLAIMS = "judged since the model's card claims"


def judged(source: str, *names: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names of what is judged on, and what is left out, and why."""
    data = data_of(Settings(model=source, data=names))
    return tuple(dataset.name for dataset in data.datasets), dict(data.left)


@pytest.fixture
def claiming(tmp_path):
    """Makes a folder whose card has this front matter."""

    def make(front: str) -> str:
        (tmp_path / "README.md").write_text(f"---\n{front}\n---\n", "utf-8")
        return str(tmp_path)

    return make


@pytest.mark.parametrize("front", ["language: [de, en]", "language: zh", "language:\n- multilingual"])
def test_models_of_its_languages_are_judged_on_the_multilingual_set(claiming, front):
    assert judged(claiming(front)) == ((*ALWAYS, "multilingual"), {})


def multilingual_for(source: str) -> Dataset:
    """The multilingual set as a model is judged on it; the others have no notes."""
    *others, multilingual = data_of(Settings(model=source)).datasets
    assert all(dataset.notes == () for dataset in others)
    return multilingual


@pytest.mark.parametrize("front", ["language: [en, multilingual]", "language: [zh, ar, ru, es, de, en, fr]"])
def test_models_of_all_its_languages_are_judged_on_the_whole_of_it(claiming, front):
    found, whole = multilingual_for(claiming(front)), load_bundled("multilingual")
    assert (found.sha256, found.slices, len(found)) == (whole.sha256, whole.slices, len(whole))
    (note,) = found.notes
    assert note in ("judged since the model's card claims multilingual", f"{CLAIMS} ar, de, es, ru, zh")


@pytest.mark.parametrize(
    ("front", "claims", "slices"),
    [
        ("language: [en, de]", "de", ["german"]),
        ("language: [ru, en, fr, de]", "de, ru", ["german", "russian"]),
        ("language: [de, es, ru, ar, zh]", "ar, de, es, ru, zh", ["arabic", "german", "spanish", "russian", "chinese"]),
    ],
)
def test_other_models_are_judged_on_its_rows_in_their_languages_alone(claiming, front, claims, slices):
    found, whole = multilingual_for(claiming(front)), load_bundled("multilingual")
    items = sorted(item for name in slices for item in whole.slices[name])
    assert [found.item_text(place) for place in range(len(found))] == [whole.item_text(item) for item in items]
    assert {name for name in found.slices if name in (*NAMES.values(), "cross-lingual")} == set(slices)
    (note,) = found.notes
    assert note == f"{CLAIMS} {claims}, on {len(items)} of its {len(whole)} rows: the slices {', '.join(slices)} alone"
    assert clustered(found.clusters) == clustered(whole.clusters[items])


def clustered(clusters) -> list[int]:
    """The first item of the cluster of each."""
    numbers = clusters.tolist()
    return [numbers.index(number) for number in numbers]


def test_each_part_of_it_is_a_dataset_of_its_own(claiming):
    fronts = ("de", "es", "[de, es]", "[de, en]", "multilingual")
    hashes = {front: multilingual_for(claiming(f"language: {front}")).sha256 for front in fronts}
    assert hashes["de"] == hashes["[de, en]"]
    assert len(set(hashes.values())) == 4
    assert hashes["multilingual"] == load_bundled("multilingual").sha256


def test_every_language_of_it_has_a_slice_in_its_name():
    (card,) = (card for card in bundled_cards() if card.default == CLAIMED)
    assert {NAMES[language] for language in card.foreign} <= load_bundled(card.name).slices.keys()


@pytest.mark.parametrize(
    ("front", "why"),
    [
        ("language: en", "the model's card claims en alone"),
        ("language: [en, fr]", "the model's card claims en, fr alone"),
        ("license: mit", NO_LANGUAGES),
        ("language: [de", NO_LANGUAGES),
    ],
)
def test_other_models_are_not(claiming, front, why):
    assert judged(claiming(front)) == (ALWAYS, {"multilingual": why})


def test_models_without_a_card_are_not(tmp_path):
    assert judged(str(tmp_path)) == (ALWAYS, {"multilingual": NO_LANGUAGES})


def test_a_card_that_cannot_be_fetched_is_not_said_to_be_missing(tmp_path, monkeypatch):
    hub = Hub(tmp_path, tmp_path / "cache")
    hub.patch(monkeypatch)
    hub.trouble = OSError("no network\nat all")
    cause = f"README.md of {hub.source} is not in the cache and cannot be fetched: no network"
    assert judged(hub.source) == (ALWAYS, {"multilingual": f"{NO_CARD}: {cause}"})
    hub.trouble = None
    assert judged(hub.source) == (ALWAYS, {"multilingual": NO_LANGUAGES})


def test_of_the_bundled_model_nothing_need_be_told():
    data = data_of(Settings())
    assert (tuple(dataset.name for dataset in data.datasets), data.left) == (ALWAYS, {})


def test_what_is_named_is_judged_whatever_the_model_claims(claiming):
    assert judged(claiming("language: en"), "multilingual") == (("multilingual",), {})
    assert judged(claiming("language: de"), "pairs") == (("pairs",), {})


def test_it_stands_last_in_the_report():
    assert bundled() == (*ALWAYS, "multilingual")


def test_reports_tell_what_was_judged_on_and_why():
    datasets = [("multilingual", ["judged since ..."]), ("pairs", [])]
    noted = {"datasets": [{"name": name, "kind": "similarity", "notes": notes} for name, notes in datasets]}
    assert facts.lines(noted) == ["multilingual: judged since ..."]
    assert facts.lines({"left_data": {"multilingual": NO_LANGUAGES}}) == [
        f"not judged on multilingual: {NO_LANGUAGES}; --gate-data=multilingual judges on it"
    ]
    assert facts.lines({}) == []


class TestSessions:
    @pytest.fixture
    def collected(self, project, model, monkeypatch):
        """Collects the tests of quality for the small model, with this card."""

        def collect(front: str) -> str:
            folder = project.path / "mine"
            folder.mkdir()
            for file in model.path.iterdir():
                if file.name != "README.md":
                    (folder / file.name).symlink_to(file)
            (folder / "README.md").write_text(f"---\n{front}\n---\n", "utf-8")
            arguments = ("--collect-only", "-q", "--pyargs", "embedgate.suites.test_quality", "--gate-model=mine")
            result = project.runpytest_inprocess(*arguments)
            assert result.ret == 0
            return result.stdout.str()

        return collect

    def test_a_card_that_claims_german_adds_its_tests(self, collected):
        assert "multilingual" in collected("language: [en, de]")

    @pytest.mark.parametrize("front", ["language: en", "language: [de, : ]["])
    def test_other_cards_add_none_and_end_no_session(self, collected, front):
        told = collected(front)
        assert "pairs" in told
        assert "multilingual" not in told
