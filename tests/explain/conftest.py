"""Models on the tiny backbone whose every path counts."""

from __future__ import annotations

import pytest
import torch

from peclip_fast import create_model

CLASSES = ("happiness", "sadness", "anger")


@pytest.fixture
def make(tiny_backbone):
    """A model in eval mode, moved away from where paths start at zero."""

    def make(method="pe_clip", **config):
        torch.manual_seed(0)
        own = {"prompt_depth": 3} if method == "pe_clip" else {}
        config = {"classes": CLASSES, "backbone": tiny_backbone, **own, **config}
        model = create_model(method, **config)
        with torch.no_grad():
            for name, parameter in model.trained_parameters().items():
                parameter.add_(0.1 * torch.randn_like(parameter))
                if name.endswith("scale.bias"):
                    parameter.fill_(0.5)
        return model.eval()

    return make


@pytest.fixture
def frames():
    """A clip (5, 3, 32, 32)."""
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))
