"""Tensors of the backbone that a method trains, and the backbone as it was before."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn

from peclip_fast.errors import InputError

UNREAD = ("logit_scale", "logit_bias")  # no method reads them, so nothing would train them


def tensors_named(backbone: nn.Module, patterns: Iterable[str], source: str) -> list[str]:
    """Names of the backbone's tensors that fit a pattern, as ``visual.*`` or ``*``.

    Args:
        backbone: open_clip's model.
        patterns: of fnmatch.
        source: the backbone's name, for messages.

    Raises:
        InputError: a pattern fits none.
    """
    names = [name for name, _ in backbone.named_parameters() if name not in UNREAD]
    found: set[str] = set()
    for pattern in patterns:
        fitting = {name for name in names if fnmatchcase(name, pattern)}
        if not fitting:
            raise InputError(f"trained_backbone: {pattern!r} fits no tensor of {source!r}")
        found |= fitting
    return [name for name in names if name in found]


def with_values(backbone: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """A backbone with these values of its own, which shares all its other tensors."""
    memo: dict[int, nn.Parameter] = {id(p): p for p in backbone.parameters()}
    for name, parameter in backbone.named_parameters():
        if name in values:
            value = values[name].to(parameter, copy=True)
            memo[id(parameter)] = nn.Parameter(value, requires_grad=False)
    return copy.deepcopy(backbone, memo)
