"""``python -m benchmarks.compile_checks.sanitize``: a small case of each CUDA kernel.

For compute-sanitizer, on a GPU.
"""

from __future__ import annotations

import argparse

import torch

from peclip_fast import ops

CLIPS, FRAMES, TOKENS, WIDTH, HIDDEN = 1, 3, 5, 64, 24


def main() -> None:
    """Forward and backward of the CUDA operators on odd sizes; fails if a result isn't finite."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.compile_checks.sanitize", description=__doc__
    ).parse_args()
    torch.manual_seed(0)
    shapes = [
        (CLIPS, FRAMES, TOKENS, WIDTH), (CLIPS, FRAMES, TOKENS, WIDTH), (WIDTH,), (WIDTH,),
        (1, WIDTH), (1,), (HIDDEN, WIDTH), (HIDDEN,), (3 * HIDDEN, HIDDEN),
        (3 * HIDDEN, HIDDEN), (3 * HIDDEN,), (3 * HIDDEN,), (WIDTH, HIDDEN), (WIDTH,),
    ]  # fmt: skip
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        tensors = [(0.3 * torch.randn(s, device="cuda")).to(dtype).requires_grad_() for s in shapes]
        y = ops.temporal_adapter(*tensors, backend="cuda")
        gradients = torch.autograd.grad(y.float().sum(), tensors)
        for tensor in (y, *gradients):
            if not tensor.isfinite().all():
                raise SystemExit(f"temporal_adapter {dtype}: not finite")
        print(f"temporal_adapter {dtype}: ran")


if __name__ == "__main__":
    main()
