"""What is kept of windows for explanations."""

from __future__ import annotations

import pytest
import torch

from peclip_fast.errors import InputError
from peclip_fast.serve.decoding.analysis import pack_window, unpack_window


def test_windows_come_back_to_the_bit():
    names, shape = ("frames", "parsing"), (4, 3, 8, 8)
    generator = torch.Generator().manual_seed(1)
    given = {n: torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for n in names}
    before = {name: images.clone() for name, images in given.items()}
    found = unpack_window(pack_window(given, names), names, shape)
    assert all(torch.equal(found[name], before[name]) for name in names)
    assert all(torch.equal(given[name], before[name]) for name in names)


@pytest.mark.parametrize("cut", [slice(0, 10), slice(5, None)])
def test_damaged_ones_are_named(cut):
    shape = (2, 3, 4, 4)
    packed = pack_window({"frames": torch.zeros(shape, dtype=torch.uint8)}, ("frames",))
    with pytest.raises(InputError, match="damaged"):
        unpack_window(packed[cut], ("frames",), shape)
