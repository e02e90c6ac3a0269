"""torch.compile without generated code, which takes minutes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from peclip_fast.engine import graphs


class Compiler:
    """Stands in for torch.compile: traces with Dynamo, runs without generated code."""

    def __init__(self) -> None:
        self.times = 0
        self._compile = torch.compile

    def __call__(self, function: Callable[..., Tensor], **options: bool) -> Callable[..., Tensor]:
        assert options == {"dynamic": False, "fullgraph": True}
        self.times += 1
        found: Callable[..., Tensor] = self._compile(function, backend="aot_eager", **options)
        return found


def stand_in_compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """The stand-in in torch.compile's place, and Dynamo's counters at nothing."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    stand_in = Compiler()
    monkeypatch.setattr(torch, "compile", stand_in)
    monkeypatch.setenv(graphs._CACHE, "/nowhere")
    return stand_in
