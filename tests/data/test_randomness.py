from __future__ import annotations

import itertools

import torch

from peclip_fast.data.randomness import derived_generator


def test_every_number_counts() -> None:
    draws = {
        tuple(torch.rand(4, generator=derived_generator(*numbers)).tolist())
        for numbers in itertools.product((0, 1, 2**31, 2**33), repeat=3)
    }
    assert len(draws) == 4**3
    assert torch.rand(1, generator=derived_generator(1, 2)) == torch.rand(
        1, generator=derived_generator(1, 2)
    )
