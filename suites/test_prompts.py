"""Is each text encoded as it is used? A prompt that is dropped, doubled or another role's changes every embedding."""

import pytest

pytestmark = pytest.mark.quality


@pytest.mark.gate("prompt")
def test_has_the_prompt_of_its_role(uphold):
    """Queries, documents and tasks with their prompts, by the route of their role."""
    uphold()
