"""What do stored vectors still find? Codes of 8 bits and of one, ranked again or not, and indexes that two share."""

import pytest

pytestmark = pytest.mark.search


@pytest.mark.gate("codes")
def test_codes_say_what_vectors_say(uphold):
    """Codes decode to their vectors, and the ranges of 8-bit ones were taken from enough vectors like these."""
    uphold()


@pytest.mark.gate("search.kept")
def test_finds_what_float32_finds(uphold):
    """The ten nearest of exact float32 search, in a collection grown to the size of a real one."""
    uphold()


@pytest.mark.gate("search.ranks")
def test_ranks_as_float32_does(uphold):
    """Scores nDCG and recall by a dataset's own judgements, paired query by query with float32 vectors'."""
    uphold()


@pytest.mark.gate("mixed")
def test_mixes_with_the_reference(uphold):
    """Queries of one combination among documents of another, as it is while a change rolls out."""
    uphold()


@pytest.mark.gate("engine")
def test_engine_finds_what_is_there(uphold):
    """Every index of every engine: exactly what is there, or as much of it as a graph may miss."""
    uphold()


@pytest.mark.budget
@pytest.mark.gate("search speed")
def test_searches_as_fast(benchmark, uphold):
    """Its share of float32's time in the same engine, both timed in turns, one query at a time and 64."""
    uphold(benchmark=benchmark)
