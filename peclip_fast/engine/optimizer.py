"""What is trained how fast: a learning rate for each group, one schedule for all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from peclip_fast.config.run import RunConfig
from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import AdaptedCLIP

MOMENTUM = 0.9  # of SGD


def make_optimizer(model: AdaptedCLIP, config: RunConfig) -> Optimizer:
    """The optimizer of the model's groups; each has its name, and its highest rate for now.

    A group comes a second time, with a decay of zero, for what the method leaves undecayed.

    Raises:
        InputError: the configuration has no learning rate for a group.
    """
    train, rates = config.train, config.learning_rates
    groups: list[dict[str, Any]] = []
    undecayed = model.undecayed()
    for name, parameters in model.parameter_groups().items():
        if not parameters:
            continue
        if name not in rates:
            known = ", ".join(rates)
            raise InputError(
                f"learning rates: expected one for {name} of {model.title}, got those of {known}"
            )
        left = [p for p in parameters if id(p) in undecayed]
        others = [p for p in parameters if id(p) not in undecayed]
        group = {"lr": rates[name], "name": name}
        if others:
            groups.append({"params": others, **group})
        if left:
            groups.append({"params": left, "weight_decay": 0.0, **group})
    # One pass over all parameters. Gradients of fp16 can't be clipped for it, as it unscales them.
    fused = train.precision != "fp16" or train.clip_norm is None
    how: dict[str, Any] = {"weight_decay": train.weight_decay, "fused": fused}
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=MOMENTUM, **how)
    return torch.optim.AdamW(groups, **how)


def set_rates(optimizer: Optimizer, highest: Mapping[str, float], factor: float) -> None:
    """Give each group its highest rate times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = highest[group["name"]] * factor


def warmup_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """Factor on every group's learning rate at optimizer step ``step``, counted from 0.

    It rises linearly to 1 over the warm-up and falls to 0 along half a cosine. The paper's recipe
    (section 4.2, Table 2) names both and their lengths in epochs; the published program moves
    once per epoch, we move at every step, so that the first steps are small ones too.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
