"""Are stored vectors still this model's? Rows of an index as it is, against what the model gives today."""

import pytest

pytestmark = pytest.mark.search


@pytest.mark.gate("stored.rows")
def test_rows_are_the_models(uphold):
    """Rows drawn at random: direction and length, text by text; the fault of those that are not is named."""
    uphold()


@pytest.mark.gate("stored.search")
def test_finds_what_is_stored(uphold):
    """Queries of today's model find what they find among today's vectors, and each text its own row."""
    uphold()
