"""What is trained how fast: a learning rate for each group, one schedule for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import AdaptedCLIP

MOMENTUM = 0.9  # of SGD
DECREASE = 0.1  # of the rates at a milestone


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
    if not groups:
        raise InputError(f"{model.title}: these options leave nothing to train")
    # One pass over all parameters. Gradients of fp16 can't be clipped for it, as it unscales them.
    fused = train.precision != "fp16" or train.clip_norm is None
    how: dict[str, Any] = {"weight_decay": train.weight_decay, "fused": fused}
    if train.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, **how)
        # PyTorch leaves them as they lie in memory where the first step isn't taken.
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    return torch.optim.AdamW(groups, **how)


def set_rates(
    optimizer: Optimizer, highest: Mapping[str, float], factor: float, lowest: float = 0.0
) -> None:
    """Give each group its rate: ``lowest`` where the factor is 0, its highest where it is 1."""
    for group in optimizer.param_groups:
        most = highest[group["name"]]
        end = min(lowest, most)
        group["lr"] = end + (most - end) * factor


def factor_at(step: int, steps: int, train: TrainConfig) -> float:
    """The schedule's factor on every group's learning rate.

    Args:
        step: the optimizer step, counted from 0.
        steps: of an epoch.
        train: schedule, epochs, warm-up and milestones.
    """
    warmup = round(train.warmup_epochs * steps)
    if train.schedule == "cosine":
        return warmup_cosine(step, warmup, steps * train.epochs)
    return warmup_steps(step, warmup, [steps * epoch for epoch in train.milestones])


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Linearly up to 1 over the first ``warmup`` steps, then along half a cosine to 0 at ``total``.

    The recipe of PE-CLIP (section 4.2, Table 2) names both and their lengths in epochs; the
    published program moves once per epoch, we move at every step, so that the first steps are small
    ones too.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def warmup_steps(step: int, warmup: int, milestones: Sequence[int]) -> float:
    """Linearly up to 1 over the first ``warmup`` steps, then a tenth from each milestone on."""
    if step < warmup:
        return (step + 1) / warmup
    return DECREASE ** sum(step >= milestone for milestone in milestones)
