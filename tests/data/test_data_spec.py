"""How a dataset is written."""

from __future__ import annotations

import pytest

from embedgate.core.errors import DataError
from embedgate.data.spec import Spec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "place", "given"),
    [
        ("pairs", "pairs", {}),
        ("q.csv::sentence1=q1,score=dup", "q.csv", {"sentence1": "q1", "score": "dup"}),
        ('q.csv::text="a, ""b""",label=c d', "q.csv", {"text": 'a, "b"', "label": "c d"}),
        (
            "q.csv::sentence1=q 1, sentence2=q2 , score=dup",
            "q.csv",
            {"sentence1": "q 1", "sentence2": "q2", "score": "dup"},
        ),
        ('q.csv:: text = "a, b" ,label= c', "q.csv", {"text": "a, b", "label": "c"}),
        ("q.csv::delimiter=\t,text=a", "q.csv", {"delimiter": "\t", "text": "a"}),
        (f"hub:org/name@{COMMIT}::dev", f"hub:org/name@{COMMIT}::dev", {}),
        (f"hub:org/name@{COMMIT}:config:dev::text=body", f"hub:org/name@{COMMIT}:config:dev", {"text": "body"}),
        (r"C:\data\q.csv::delimiter=;", r"C:\data\q.csv", {"delimiter": ";"}),
        ("beir::split=dev", "beir", {"split": "dev"}),
        ("my::folder/q.csv", "my::folder/q.csv", {}),
        ("my::folder/q.csv::text=q", "my::folder/q.csv", {"text": "q"}),
        ('q.csv::text="a::b=c"', "q.csv", {"text": "a::b=c"}),
        ("q.csv::text=a::b=c", "q.csv", {"text": "a::b=c"}),
    ],
)
def test_place_and_keys(text: str, place: str, given: dict[str, str]) -> None:
    assert Spec.parse(text) == Spec(place, given)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "the name of a dataset is empty"),
        ("q.csv::text=a,b", "q.csv::text=a,b: 'b' is no key=value"),
        ("q.csv::text=", "q.csv::text=: 'text=' is no key=value"),
        ("q.csv::text=a,text=b", "q.csv::text=a,text=b: gives text twice"),
        ('q.csv::text="a', """q.csv::text="a: 'text="a' is no key=value"""),
    ],
)
def test_another_form_is_refused(text: str, cause: str) -> None:
    with pytest.raises(DataError) as raised:
        Spec.parse(text)
    assert raised.value.cause == cause


def test_unknown_key_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"beir has no key 'spilt'; did you mean split\? its keys are split, name"):
        Spec.parse("beir::spilt=dev").refuse_unknown(("split", "name"))
    with pytest.raises(DataError, match=r"beir has no key 'zzz'; its keys are split, name"):
        Spec.parse("beir::zzz=dev").refuse_unknown(("split", "name"))
