"""Prints what one kernel uses with as many numbers in a thread as fit, and with more than that."""

from __future__ import annotations

import json

import torch
import triton
import triton.language as tl

from benchmarks.compile_checks.triton_launches import Launch, compile_for, specialise


@triton.jit
def normalise_kernel(x_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(x_ptr + i, x * tl.sum(x, 0))


def main() -> None:
    x = torch.empty(8)
    usages = {}
    for name, count in (("few", 512), ("many", 16384)):
        launch = Launch(normalise_kernel, (x,), {"N": count, "num_warps": 1})
        usages[name] = compile_for(90, *specialise(launch))
    print(json.dumps(usages))


if __name__ == "__main__":
    main()
