"""In place of torch.cuda.make_graphed_callables: on the CPU, right or wrong as PECLIP_GRAPHS says.

For processes of their own, which import this as a plugin, and for tests that install it.
"""

from __future__ import annotations

import ctypes
import os
import time

import torch
from torch import Tensor, nn


def make_graphed_callables(module: nn.Module, sample_args: tuple[Tensor, ...]) -> nn.Module:
    """Its contract: one shape, inputs copied to where they were captured, results in one place."""
    kind = os.environ.get("PECLIP_GRAPHS", "right")
    if kind == "segfaults":
        ctypes.string_at(8)
    if kind == "raises":
        raise RuntimeError("operation not permitted when stream is capturing")
    compute, parameters = module.forward, tuple(module.parameters())
    kept = [torch.empty_like(p) for p in parameters]
    logits: list[Tensor] = []

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *given):
            if kind == "hangs":
                time.sleep(600)
            for static, t in zip(sample_args, given, strict=False):
                assert static.shape == t.shape
                if kind != "stale":  # it would go on with the batch of the capture
                    static.copy_(t)
            with torch.enable_grad():
                ctx.result = compute(*sample_args)
            logits[:] = logits or [torch.empty_like(ctx.result)]
            return logits[0].copy_(ctx.result.detach()).detach()

        @staticmethod
        def backward(ctx, grad):
            found = torch.autograd.grad(ctx.result, parameters, grad)
            for memory, gradient in zip(kept, found, strict=True):
                memory.copy_(gradient)
            if kind == "wrong":
                kept[-1].mul_(1.1)
            if kind == "nan":
                kept[0].view(-1)[:1] = torch.nan
            return *[None] * len(sample_args), *(memory.detach() for memory in kept)

    module.forward = lambda *given: Graphed.apply(*given, *parameters)
    return module


if "PECLIP_GRAPHS" in os.environ:
    torch.cuda.make_graphed_callables = make_graphed_callables
