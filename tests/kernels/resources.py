"""Compile the Triton kernels for GPUs that aren't here, and read what the compiler used.

The launchers run on CPU tensors with their kernels replaced by recorders, so what is compiled is
what a user's call would launch: the same arguments, block sizes and specialisations. Run as a
script (without TRITON_INTERPRET) it prints one JSON line per kernel.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from peclip_fast.kernels import (
    bottleneck_adapter,
    temporal_adapter,
    temporal_adapter_backward,
)

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


@contextlib.contextmanager
def recording(*modules: Any) -> Iterator[dict[str, Recorder]]:
    """Replace the modules' kernels by recorders, and the sum over groups, which launches too."""
    recorders = {}
    with contextlib.ExitStack() as patches:
        for module in modules:
            for name, value in list(vars(module).items()):
                if name.endswith("_kernel"):
                    recorder = recorders[name.removesuffix("_kernel")] = Recorder(value)
                    patches.enter_context(mock.patch.object(module, name, recorder))
            if hasattr(module, "reduce_groups"):
                add = mock.patch.object(module, "reduce_groups", lambda part, dtype: part[0])
                patches.enter_context(add)
            if hasattr(module, "resident"):  # as it answers on sm_80, 90 and 100
                keep = mock.patch.object(module, "resident", lambda padded, dtype, _: (
                    dtype.itemsize == 2 and padded <= 128
                ))  # fmt: skip
                patches.enter_context(keep)
        yield recorders


def bottleneck_adapter_launches(
    width: int, hidden: int, dtype: torch.dtype, wide_dtype: torch.dtype
) -> dict[str, Recorder]:
    x = torch.empty(1600, width, dtype=wide_dtype)
    down, up = torch.empty(hidden, width, dtype=dtype), torch.empty(width, hidden, dtype=dtype)
    down_bias, up_bias = up[0], down[0]
    with recording(bottleneck_adapter) as recorders:
        bottleneck_adapter.forward(x, down, down_bias, up, up_bias, x, True, 1.0, wide_dtype)
        bottleneck_adapter.backward(x, x, down, down_bias, up, True, 1.0)
    return recorders


def temporal_adapter_launches(
    width: int, hidden: int, dtype: torch.dtype, wide_dtype: torch.dtype
) -> dict[str, Recorder]:
    x = torch.empty(2, 16, 16, width, dtype=wide_dtype)
    down, up = torch.empty(hidden, width, dtype=dtype), torch.empty(width, hidden, dtype=dtype)
    gates, bias = torch.empty(3 * hidden, hidden, dtype=dtype), torch.empty(3 * hidden, dtype=dtype)
    norm, one = down[0], bias[:1]
    with recording(temporal_adapter, temporal_adapter_backward) as recorders:
        _, saved = temporal_adapter.forward(
            x, x, norm, norm, down[:1], one, down, up[0], gates, gates, bias, bias, up, norm,
            "after_up", wide_dtype,
        )  # fmt: skip
        temporal_adapter_backward.backward(
            x, x, saved, norm, down[:1], down, gates, gates, bias, up, norm, "after_up"
        )
    return recorders


def report(cases: list[tuple[str, int, int, str, str]], capabilities: list[int]) -> None:
    launches = {
        "bottleneck_adapter": bottleneck_adapter_launches,
        "temporal_adapter": temporal_adapter_launches,
    }
    for op, width, hidden, dtype, wide_dtype in cases:
        dtypes = getattr(torch, dtype), getattr(torch, wide_dtype)
        for name, recorder in launches[op](width, hidden, *dtypes).items():
            for number, launch in enumerate(recorder.launches):
                for capability in capabilities:
                    line = {
                        "kernel": f"{op}.{name}" + (f".{number}" if number else ""),
                        "D": width, "h": hidden, "dtype": dtype, "x": wide_dtype, "sm": capability,
                        **compile_launch(recorder.kernel, *launch, capability),
                    }  # fmt: skip
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    report(*json.loads(sys.argv[1]))
