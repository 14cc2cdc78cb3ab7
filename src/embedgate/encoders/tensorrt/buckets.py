"""The shapes an engine is made for: one optimisation profile per range of lengths.

TensorRT chooses kernels for one shape of each profile, so short texts get a profile of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from embedgate.core.errors import EncodeError

# Where one profile ends and the next begins, in tokens.
BOUNDS = (32, 128, 512, 2048, 8192)
# Texts of a batch; a longer one is encoded in parts.
LARGEST_BATCH = 256
# Tokens of a batch, padding included: the largest batch of long texts has fewer of them.
MOST_TOKENS = 256 * 512
# Pairs of tokens of a batch, one for each of which attention has a score.
MOST_PAIRS = 256 * 512**2
# A model that names no limit (transformers then says 10^30) gets this one; a longer text is refused, never cut.
NO_LIMIT = 10**6
WITHOUT_LIMIT = 8192


@dataclass(frozen=True)
class Bucket:
    """A range of shapes `[texts, tokens]`.

    Attributes:
        shortest: Fewest tokens.
        longest: Most tokens.
        most: Most texts.
        likely: Texts that kernels are chosen for.
    """

    shortest: int
    longest: int
    most: int
    likely: int

    @property
    def least_shape(self) -> tuple[int, int]:
        """The smallest shape."""
        return 1, self.shortest

    @property
    def likely_shape(self) -> tuple[int, int]:
        """The shape that kernels are chosen for: the batch size of the session, the middle of the lengths."""
        return self.likely, (self.shortest + self.longest) // 2

    @property
    def largest_shape(self) -> tuple[int, int]:
        """The largest shape."""
        return self.most, self.longest

    def describe(self) -> dict[str, Any]:
        """As JSON values, for keys and records."""
        return asdict(self)


def buckets(max_tokens: int, batch_size: int) -> tuple[Bucket, ...]:
    """The buckets of a model, which cover every length from 1 on.

    Args:
        max_tokens: Longest input of the model.
        batch_size: Texts per batch of the session.
    """
    limit = max_tokens if max_tokens < NO_LIMIT else WITHOUT_LIMIT
    ends = (*(bound for bound in BOUNDS if bound < limit), limit)
    starts = (1, *(end + 1 for end in ends[:-1]))
    wanted = max(LARGEST_BATCH, batch_size)
    found = []
    for shortest, longest in zip(starts, ends, strict=True):
        most = max(1, min(wanted, MOST_TOKENS // longest, MOST_PAIRS // longest**2))
        found.append(Bucket(shortest, longest, most, min(batch_size, most)))
    return tuple(found)


def bucket_of(known: Sequence[Bucket], tokens: int) -> int:
    """Which bucket takes texts of a length.

    Raises:
        EncodeError: If they are longer than the longest bucket.
    """
    for place, bucket in enumerate(known):
        if tokens <= bucket.longest:
            return place
    raise EncodeError(
        f"a text of {tokens} tokens is longer than the engine's largest profile of {known[-1].longest}",
        "set the model's max_seq_length, so that an engine is built for its longest texts",
    )
