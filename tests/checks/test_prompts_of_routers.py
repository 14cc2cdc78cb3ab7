"""Roles that take routes of their own: exchanged ones are named, right ones stay green."""

from __future__ import annotations

import pytest
from helpers import families
from helpers.parcels import parcels
from helpers.prompted import ByRole, Swaps

from embedgate.core.combination import Combination


@pytest.fixture(scope="module", params=["router", "mapped_router", "asym"])
def routed(request, context_with, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    getattr(families, request.param)(folder)
    data = tmp_path_factory.mktemp("data")
    pairs = data / "pairs.csv"
    pairs.write_text("text_a,text_b,score\n" + "".join(f"pair {i},twin {i * i},{i % 5}\n" for i in range(12)), "utf-8")
    made = context_with(
        {"swaps-fp32-cpu": Swaps, "byrole-fp32-cpu": ByRole}, model=str(folder), data=(str(parcels(data)), str(pairs))
    )
    yield made
    made.close()


@pytest.mark.parametrize(("role", "other"), [("query", "document"), ("document", "query")])
def test_exchanged_routes_are_named(routed, role, other):
    judgement = routed.ask("prompt", Combination.parse("swaps-fp32-cpu"), role)
    assert judgement.verdict == "fail"
    assert judgement.message.startswith(f"a {role} is encoded as {other}: the embeddings lie 100% of the way")


@pytest.mark.parametrize("role", ["query", "document", "sts"])
@pytest.mark.parametrize("name", ["byrole-fp32-cpu", "torchao-int8-cpu"])
def test_routes_that_are_right_stay_green(routed, name, role):
    judgement = routed.ask("prompt", Combination.parse(name), role)
    assert judgement.verdict == "pass", judgement.message


def test_a_role_of_its_own_route_is_no_cache_of_another(routed):
    """Exchanged routes give its embedding in the other role, whether or not the text came before."""
    assert routed.ask("prompt", Combination.parse("swaps-fp32-cpu"), "sts").verdict == "pass"
