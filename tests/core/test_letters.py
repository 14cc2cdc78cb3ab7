"""What a text is written in, by signs of which a range or a name tells something else."""

from __future__ import annotations

import pytest

from embedgate.core.letters import has_accents, has_emoji, has_other_scripts, without_emoji, without_other_scripts


@pytest.mark.parametrize("sign", ["⌚", "⏰", "▶", "ℹ", "↔", "‼", "㊗", "☀", "⭐", "🎂", "👍🏽", "🇳🇴", "1️⃣", "#⃣", "©️"])
def test_what_unicode_calls_an_emoji_is_one(sign):
    assert has_emoji(f"at {sign} noon")
    assert without_emoji(f"at {sign} noon") == "at  noon"
    assert not has_other_scripts(sign)


@pytest.mark.parametrize("sign", ["1", "#", "*", "©", "®", "™", "°", "★", "→", "█", "①", "⌘", "\ufe0f"])
def test_signs_of_plain_text_are_no_emoji(sign):
    assert not has_emoji(f"at {sign} noon")
    assert without_emoji(f"at {sign} noon") == f"at {sign} noon"


def test_what_joins_emoji_goes_with_them():
    assert without_emoji("We 👩‍👩‍👧‍👦 fly ✈️ home") == "We  fly  home"


@pytest.mark.parametrize("text", ["1ª y 2º", "5 µm", "5 Å", "𝔊", "ℵ", "ʰ", "naïve", "Ａ", "\ud83d", "3 ½"])
def test_signs_of_no_script_and_latin_ones_are_of_no_other(text):
    assert not has_other_scripts(text)
    assert without_other_scripts(text) == text


@pytest.mark.parametrize(
    "letter", ["Ж", "Ω", "μ", "ש", "ع", "ـ", "आ", "ส", "包", "々", "に", "ー", "한", "Ა", "𓀀", "𒀀"]
)
def test_letters_of_other_scripts(letter):
    assert has_other_scripts(f"a{letter}b")
    assert without_other_scripts(f"a{letter}b") == "ab"
    assert not has_accents(letter)


@pytest.mark.parametrize("text", ["café", "cafe\u0301", "Straße", "ﬁne", "ＦＵＬＬ", "ở"])
def test_accents(text):
    assert has_accents(text)


@pytest.mark.parametrize("text", ["cafe", "1ª y 2º", "5 µm", "й", "и\u0306", "ʰ", "\u0301a", "", "1\u0301"])
def test_no_accents(text):
    assert not has_accents(text)
