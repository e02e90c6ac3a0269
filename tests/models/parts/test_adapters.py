"""Adapters against PyTorch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from peclip_fast.models.parts.adapters import BottleneckAdapter, TemporalAdapter
from peclip_fast.ops import gru_with


def filled(adapter):
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return adapter.double()


def test_bottleneck_adapter():
    adapter = filled(BottleneckAdapter(48, 12))
    x, residual = torch.randn(2, 5, 48, dtype=torch.double), torch.randn(2, 5, 48).double()
    layers = nn.Sequential(adapter.down, nn.GELU(), adapter.up)
    torch.testing.assert_close(adapter(x, residual), residual + x + layers(x))


@pytest.mark.parametrize("recurrence", ["gru", "lstm", "rnn", "none"])
@pytest.mark.parametrize("scaling", ["none", "input", "recurrence", "after_up"])
@pytest.mark.parametrize("length", [1, 3, 17])
def test_temporal_adapter(recurrence, scaling, length):
    """Clip by clip and token by token through PyTorch's recurrent layers."""
    adapter = filled(TemporalAdapter(48, 4, recurrence, scaling))
    layer = gru_with(*adapter.recurrence.weights()) if recurrence == "gru" else adapter.recurrence
    shape = (2, length, 5, 48)
    m, residual = torch.randn(shape).double(), torch.randn(shape).double()
    got = adapter(m, residual)
    for clip in range(2):
        for token in range(5):
            z = adapter.norm(m[clip, :, token])
            s = torch.relu(adapter.scale(z)) if adapter.scale is not None else 1.0
            d = adapter.down(z) * (s if scaling == "input" else 1)
            g = d if layer is None else layer(d)[0]
            g = g * (s if scaling == "recurrence" else 1)
            y = adapter.up(nn.functional.gelu(g)) * (s if scaling == "after_up" else 1)
            expected = residual[clip, :, token] + m[clip, :, token] + y
            torch.testing.assert_close(got[clip, :, token], expected)


def test_temporal_adapter_starts_as_nothing():
    adapter = TemporalAdapter(48, 4)
    m, residual = torch.randn(1, 3, 2, 48), torch.randn(1, 3, 2, 48)
    assert torch.equal(adapter(m, residual), residual + m)
