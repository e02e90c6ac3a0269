"""The patches where nothing multiplies bfloat16; test_towers.py has all kinds of towers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from peclip_fast.models.towers.vision import convolved
from peclip_fast.ops import extension


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_patches_are_computed_in_float32(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(extension, "bf16_missing", lambda: "nothing here")
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 4, 4, bias=False).requires_grad_(False)
    frames = torch.rand(2, 3, 8, 8)
    wide = conv(frames)
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = convolved(conv, frames, backend), conv(frames)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, plain if backend == "reference" else wide.to(torch.bfloat16))
    assert torch.equal(convolved(conv, frames, backend), wide)  # without autocast as ever
