"""The languages that a model's card claims: its front matter is read, and nothing malformed ends a session."""

from __future__ import annotations

import re

import pytest
from helpers.fake_hub import Hub

from embedgate.core.errors import ModelError
from embedgate.core.hub import Repository
from embedgate.core.languages import claimed


def card(folder, text: str):
    (folder / "README.md").write_text(text, "utf-8", newline="")
    return str(folder)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("language: de", ("de",)),
        ("language:\n- en\n- DE\n- pt-BR\n- zh_Hans\n- de-CH", ("de", "en", "pt", "zh")),
        ("language: [en, multilingual]", ("en", "multilingual")),
        ("language: no", ("no",)),  # Norwegian, and not false
        ("license: mit\nlanguage:\n  - fr # and more\ntags: [a]", ("fr",)),
        ("license: mit", ()),
        ("language: {de: yes}", ()),
        ("language: ''", ()),
        ("language: [de fr, d, 1, eng]", ("eng",)),
        ("language: [[de], '']", ()),
        ("- de", ()),
        ("", ()),
    ],
)
def test_front_matter_names_them(tmp_path, said, found):
    assert claimed(card(tmp_path, f"---\n{said}\n---\n# A model\nlanguage: it\n")) == found


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    assert claimed(card(tmp_path, "\ufeff---\r\nlanguage:\r\n- de\r\n---\r\nA model\r\n")) == ("de",)


@pytest.mark.parametrize(
    "text",
    [
        "---\nlanguage: [de\n---\n",
        "---\nlanguage: *gone\n---\n",
        "---\nlanguage: !!python/object/apply:os.system ['exit 1']\n---\n",
        "---\n" + "[" * 2000 + "\n---\n",
        "---\nlanguage: de\n",  # the front matter never ends
        "language: de\n",
        "# A model\n---\nlanguage: de\n---\n",
    ],
)
def test_malformed_cards_claim_nothing(tmp_path, text):
    assert claimed(card(tmp_path, text)) == ()


def test_cards_of_no_encoding_are_read_as_far_as_they_go(tmp_path):
    (tmp_path / "README.md").write_bytes(b"---\nlanguage: de\nauthor: \xff\n---\n")
    assert claimed(str(tmp_path)) == ("de",)


def test_models_without_a_card_claim_nothing(tmp_path):
    assert claimed(str(tmp_path)) == ()
    assert claimed("none") == claimed("no/such-folder") == ()
    (tmp_path / "README.md").mkdir()
    assert claimed(str(tmp_path)) == ()


class TestHub:
    @pytest.fixture
    def hub(self, tmp_path, monkeypatch) -> Hub:
        remote = tmp_path / "remote"
        remote.mkdir()
        card(remote, "---\nlanguage: [en, de]\n---\n")
        found = Hub(remote, tmp_path / "cache")
        found.patch(monkeypatch)
        return found

    def test_the_card_alone_is_fetched(self, hub):
        assert claimed(hub.source) == ("de", "en")
        assert hub.fetched == ["README.md"]

    def test_a_model_without_a_card_claims_nothing(self, hub):
        (hub.remote / "README.md").unlink()
        assert claimed(hub.source) == ()
        assert hub.fetched == []

    def test_a_hub_that_cannot_be_asked_is_no_missing_card(self, hub):
        hub.trouble = OSError("no network")
        told = f"README.md of {hub.source} is not in the cache and cannot be fetched: no network"
        with pytest.raises(ModelError, match=re.escape(told)):
            claimed(hub.source)

    def test_a_card_in_the_cache_is_read_without_the_hub(self, hub):
        claimed(hub.source)
        hub.trouble = OSError("no network")
        assert claimed(hub.source) == ("de", "en")
        assert hub.fetched == ["README.md"]


def test_no_network_is_not_tried_again_and_again(tmp_path, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    nowhere = "http://127.0.0.1:1/{repo_id}/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(ModelError, match="cannot be fetched"):
        Repository("acme/none", "b" * 40).card()
    assert waited == []
