"""What a session judges on where no data is named: what is bundled in the languages that the model's card claims."""

from __future__ import annotations

import pytest

from embedgate.core.settings import Settings
from embedgate.data import bundled
from embedgate.report import facts
from embedgate.runtime.data import NO_LANGUAGES, data_of

ALWAYS = ("pairs", "passages", "topics", "triplets")


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


def test_its_note_says_why(claiming):
    *others, multilingual = data_of(Settings(model=claiming("language: [en, ru, de]"))).datasets
    assert multilingual.notes == ("judged since the model's card claims de, ru",)
    assert all(dataset.notes == () for dataset in others)


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


def test_of_the_bundled_model_nothing_need_be_told():
    data = data_of(Settings())
    assert (tuple(dataset.name for dataset in data.datasets), data.left) == (ALWAYS, {})


def test_what_is_named_is_judged_whatever_the_model_claims(claiming):
    assert judged(claiming("language: en"), "multilingual") == (("multilingual",), {})
    assert judged(claiming("language: de"), "pairs") == (("pairs",), {})


def test_it_stands_last_in_the_report():
    assert bundled() == (*ALWAYS, "multilingual")


def test_reports_tell_what_was_judged_on_and_why():
    noted = {"datasets": [{"name": "multilingual", "notes": ["judged since ..."]}, {"name": "pairs", "notes": []}]}
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
