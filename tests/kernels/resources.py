"""Compile the Triton kernels for GPUs that aren't here, and read what the compiler used.

The launchers run on CPU tensors with their kernels replaced by recorders, so what is compiled is
what a user's call would launch: the same arguments, block sizes and specialisations. Run as a
script (without TRITON_INTERPRET) it prints one JSON line per kernel.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


class Recorder:
    """Stands in for a kernel: ``recorder[grid](*args, **kwargs)`` keeps the launch."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.launches: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *args, **kwargs: self.launches.append((args, kwargs))


def compile_launch(
    kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any], capability: int
) -> dict[str, int]:
    """Registers a thread, bytes of stack (spills) and of shared memory of one launch."""
    kwargs = dict(kwargs)
    options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages") if name in kwargs}
    signature, constants, attributes = {}, {}, {}
    values = dict(zip(kernel.arg_names, args, strict=False)) | kwargs
    for i, name in enumerate(kernel.arg_names):
        value = values[name]
        if isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
            attributes[i,] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        elif name in kwargs or value == 1 or value is None:
            signature[name] = "constexpr"
            constants[name] = value
        else:
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[i,] = [["tt.divisibility", 16]]
    compiled = triton.compile(
        ASTSource(kernel, signature, constants, attributes),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        report = subprocess.run(
            [str(CUOBJDUMP), "-res-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    registers, stack, local = (
        int(re.search(rf"{key}:(\d+)", report)[1]) for key in ("REG", "STACK", "LOCAL")
    )
    return {"registers": registers, "spilled": stack + local, "shared": compiled.metadata.shared}


def bottleneck_adapter_launches(width: int, hidden: int, dtype: torch.dtype) -> Iterator[Any]:
    from peclip_fast.kernels import bottleneck_adapter as kernels

    names = ("forward_kernel", "rows_kernel", "weights_kernel")
    recorders = {name: Recorder(getattr(kernels, name)) for name in names}
    for name, recorder in recorders.items():
        setattr(kernels, name, recorder)
    reduce_groups, kernels.reduce_groups = kernels.reduce_groups, lambda partial, dtype: partial
    x = torch.empty(1600, width, dtype=dtype)
    weights = [
        torch.empty(shape, dtype=dtype)
        for shape in ((hidden, width), (hidden,), (width, hidden), (width,))
    ]
    kernels.forward(x, *weights, x, True, 1.0, dtype)
    kernels.backward(x, x, *weights[:3], True, 1.0)
    for name, recorder in recorders.items():
        setattr(kernels, name, recorder.kernel)
        yield name.removesuffix("_kernel"), recorder
    kernels.reduce_groups = reduce_groups


def report(cases: list[tuple[int, int, str]], capabilities: list[int]) -> None:
    for width, hidden, dtype in cases:
        for name, recorder in bottleneck_adapter_launches(width, hidden, getattr(torch, dtype)):
            for capability in capabilities:
                (launch,) = recorder.launches
                line = {
                    "kernel": f"bottleneck_adapter.{name}", "D": width, "h": hidden,
                    "dtype": dtype, "sm": capability,
                    **compile_launch(recorder.kernel, *launch, capability),
                }  # fmt: skip
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    report(*json.loads(sys.argv[1]))
