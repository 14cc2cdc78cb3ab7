"""docs/models.md has what there is: `tox run -e zoo` writes it anew."""

from __future__ import annotations

import re

from helpers.families import FAMILIES, REFUSED
from helpers.paths import ROOT

from embedgate.encoders.registry import offers

PAGE = (ROOT / "docs" / "models.md").read_text("utf-8")
AGAIN = "write docs/models.md anew: tox run -e zoo"


def test_every_family_and_every_refused_kind_has_a_row():
    rows = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| ")]
    wanted = [*(f"| {family.name}: {family.traits}" for family in FAMILIES), *(f"| {each.name}" for each in REFUSED)]
    assert [row for row in wanted if row not in rows] == [], AGAIN


def test_every_combination_of_a_cpu_is_a_column_or_told_as_untried():
    known = {combination.id for combination in offers() if combination.device == "cpu"}
    (head,) = (line for line in PAGE.splitlines() if line.startswith("| family | "))
    columns = {f"{name}-cpu" for name in re.findall(r"`([\w-]+)`", head)}
    untried = set(re.findall(r"`([\w-]+-cpu)` was not tried", PAGE))
    assert columns | untried == known, AGAIN
    assert not columns & untried


def test_every_note_is_told():
    assert set(re.findall(r"\((\d+)\) \|", PAGE)) == set(re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE))
