"""A small model of any method whose trained tensors are all of some size."""

from __future__ import annotations

from pathlib import Path

import torch
from helpers.models.every_method import options_of
from helpers.tiny_runs import CLASSES

from peclip_fast import create_model
from peclip_fast.config.data import DataConfig, MixConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.models.adapted_clip import AdaptedCLIP


def trained(
    name: str, backbone: str, folder: Path, frames: int = 3
) -> tuple[AdaptedCLIP, RunConfig]:
    """It, and a configuration of its run."""
    options = {"backbone": backbone, **options_of(name)}
    model = create_model(classes=CLASSES, **options).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.trained_parameters().values():
        noise = torch.randn(parameter.shape, generator=generator) * 0.05
        parameter.data.add_(noise)
    data = DataConfig("folder", folder, frames=frames, mix=MixConfig(mixup=0, fmix=0),
                      cues=folder, descriptions=folder)  # fmt: skip
    return model, RunConfig(model.config, data)
