"""Is it really cheaper? Speed against the reference, memory and bytes, each against its approved budget."""

import pytest

pytestmark = pytest.mark.budget


@pytest.mark.gate("memory")
def test_keeps_its_memory(uphold):
    """Memory once loaded and at its peak in a fresh process, and none that stays with every batch."""
    uphold()


@pytest.mark.gate("speed")
def test_keeps_its_speed(benchmark, uphold):
    """Its share of the reference's time, both timed in turns, for batches of several sizes and lengths."""
    uphold(benchmark=benchmark)


@pytest.mark.gate("products")
def test_keeps_its_products(uphold):
    """The share of its matrix products that compute in the type its id promises: none has fallen back since."""
    uphold()


@pytest.mark.gate("size")
def test_keeps_its_size(uphold):
    """Bytes of weights and artefact: as small as the weight precision promises, and as approved."""
    uphold()
