"""Models on the tiny backbone whose every path counts."""

from __future__ import annotations

import pytest
import torch

from peclip_fast import create_model

CLASSES = ("happiness", "sadness", "anger")


@pytest.fixture
def make(tiny_backbone):
    """A model in eval mode, moved away from where paths start at zero."""

    def make(**config):
        torch.manual_seed(0)
        config = {"classes": CLASSES, "prompt_depth": 3, "backbone": tiny_backbone, **config}
        model = create_model(**config)
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
