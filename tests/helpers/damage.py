"""Files with one flipped bit, or cut short."""

from __future__ import annotations

import random
from collections.abc import Iterator

ENDS = 400  # bytes at either end, where headers, lengths and directories stand


def damaged(data: bytes, number: int, seed: int = 0) -> Iterator[bytes]:
    """The file with a bit flipped ``number`` times: a third each at its ends and anywhere.

    After these come some that lack their end.
    """
    rng, bits = random.Random(seed), 8 * len(data)
    near = min(8 * ENDS, bits)
    for k in range(number):
        place = (rng.randrange(near), bits - 1 - rng.randrange(near), rng.randrange(bits))[k % 3]
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)
    for share in (0, 0.01, 0.5, 0.99):
        yield data[: int(share * len(data))]
