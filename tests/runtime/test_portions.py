"""Portions: which items a look scores, and which texts it takes."""

from types import SimpleNamespace

import numpy as np
import pytest

from embedgate.core.errors import DataError
from embedgate.data import load_bundled
from embedgate.data.types import Similarity, Triplets
from embedgate.runtime.portions import Portions
from embedgate.runtime.session import Session


def pairs(n, grades=None):
    first, second = (tuple(f"{word} {i}" for i in range(n)) for word in ("one", "other"))
    grades = np.arange(n, dtype=float) if grades is None else grades
    return Similarity(
        name="pairs", source="here", version="", sha256="ab", first=first, second=second, grades=grades,
        slices={"even": tuple(range(0, n, 2))},
    )  # fmt: skip


def test_a_part_has_its_items_and_their_slices():
    part = pairs(10).part([7, 2, 5, 4])
    assert part.first == ("one 7", "one 2", "one 5", "one 4")
    assert part.grades.tolist() == [7, 2, 5, 4]
    assert part.slices == {"even": (1, 3)}
    assert len(part) == 4


def test_parts_are_random_nested_and_the_same_each_time():
    dataset = pairs(1900)
    parts, again = Portions([dataset]).of(dataset), Portions([pairs(1900)]).of(dataset)
    assert [len(part) for part in parts] == [211, 633, 1900]
    assert parts[-1] is dataset
    assert parts[0].first == again[0].first == parts[1].first[:211]
    places = [int(text.split()[1]) for text in parts[0].first]
    assert 0.4 < np.mean(places) / 1900 < 0.6
    assert Portions([dataset], seed=1).of(dataset)[0].first != parts[0].first


def test_a_part_that_cannot_be_measured_is_left_out():
    grades = np.zeros(1900)
    grades[-1] = 1.0
    with pytest.raises(DataError, match="every grade is 0"):
        pairs(1900, grades).part(range(211))
    dataset = pairs(1900, grades)
    found = Portions([dataset]).of(dataset)
    assert found[-1] is dataset
    assert all(np.ptp(part.grades) > 0 for part in found)


def test_few_items_and_what_cannot_be_scored_alone_are_whole():
    few, passages, topics = pairs(500), load_bundled("passages"), load_bundled("topics")
    portions = Portions([few, passages, topics])
    for dataset in (few, passages, topics):
        assert portions.of(dataset) == (dataset,)
    assert set(portions.first) == {each for dataset in (few, passages, topics) for each in dataset.inputs()}


def test_samples_take_the_same_share_of_every_dataset():
    bundled = [load_bundled(name) for name in ("pairs", "passages", "topics", "triplets")]
    *some, everything = Portions(bundled).samples
    for smaller, larger in zip(some, (*some[1:], everything), strict=True):
        assert set(smaller) < set(larger)
    for dataset in bundled:
        own = set(dataset.inputs())
        share = len(own & set(some[-1])) / len(own)
        assert 0.25 < share < 0.5  # a third of the rows, which share texts
    assert isinstance(bundled[3], Triplets)
    assert set(some[-1]) <= set(everything)


def test_a_sample_that_holds_all_texts_already_is_no_look_of_its_own():
    many = pairs(5000)
    dataset = Similarity(
        name="few texts", source="here", version="", sha256="cd",
        first=tuple(f"one {i % 700}" for i in range(5000)), second=tuple(f"other {i % 700}" for i in range(5000)),
        grades=many.grades,
    )  # fmt: skip
    sizes = [len(sample) for sample in Portions([dataset]).samples]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 1400


def test_parts_of_as_many_items_have_scores_of_their_own(monkeypatch):
    """A look at random items takes no scores of as many others that were measured before."""
    monkeypatch.setattr(Session, "encode_more", lambda *_: None)
    monkeypatch.setattr(Session, "_measured", lambda _, run, part: {"first": part.first})
    session, run, dataset = Session.__new__(Session), SimpleNamespace(key="key"), pairs(10)
    session._scores = {}
    for items in ([0, 1, 2], [7, 2, 5], [0, 1, 2]):
        part = dataset.part(items)
        assert session.scores(run, part) == {"first": part.first}
    assert session.scores(run, dataset.part([7, 2, 5]).part([1, 0])) != session.scores(run, dataset.part([1, 0]))
    assert len(session._scores["key"]) == 4
