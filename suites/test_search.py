"""What do stored vectors still find? Codes of 8 bits and of one, ranked again or not, and indexes that two share."""

import pytest

pytestmark = pytest.mark.search


def test_codes_say_what_vectors_say(gate_search, gate_combination, gate_precision, uphold):
    """Codes decode to their vectors, and the ranges of 8-bit ones were taken from enough vectors like these."""
    uphold(gate_search.codes(gate_combination, gate_precision))


def test_finds_what_float32_finds(gate_search, gate_combination, gate_storage, uphold):
    """The ten nearest of exact float32 search, in a collection grown to the size of a real one."""
    uphold(gate_search.keeps(gate_combination, gate_storage))


def test_ranks_as_float32_does(gate_search, gate_combination, gate_stored_measure, uphold):
    """Scores nDCG and recall by a dataset's own judgements, paired query by query with float32 vectors'."""
    uphold(gate_search.ranks(gate_combination, *gate_stored_measure))


def test_mixes_with_the_reference(gate_search, gate_candidate, gate_mixture, uphold):
    """Queries of one combination among documents of another, as it is while a change rolls out."""
    uphold(gate_search.mixes(gate_candidate, gate_mixture))


def test_engine_finds_what_is_there(gate_search, gate_reference, gate_engine, uphold):
    """Every index of every engine: exactly what is there, or as much of it as a graph may miss."""
    uphold(gate_search.engines.finds(gate_reference, gate_engine))


@pytest.mark.budget
def test_searches_as_fast(gate_search, gate_reference, gate_search_load, benchmark, uphold):
    """Its share of float32's time in the same engine, both timed in turns, one query at a time and 64."""
    uphold(gate_search.budgets.speed(gate_reference, gate_search_load, benchmark))
