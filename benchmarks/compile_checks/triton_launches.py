"""Compile the Triton kernels for GPUs that aren't here.

The launchers run on tensors that say they are on such a GPU and hold nothing, with their kernels
replaced by recorders: what is compiled is what a user's call would launch there, with the same
arguments, block sizes and specialisations.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
import triton
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from benchmarks.compile_checks import cubins
from benchmarks.compile_checks.cases import Case
from benchmarks.compile_checks.occupancy import LIMITS
from benchmarks.compile_checks.usage import Usage
from peclip_fast import kernels
from peclip_fast.ops.temporal_adapter import TemporalWeights
from peclip_fast.ops.temporal_adapter import triton as triton_backend

SIDE = 224  # of a frame
CLIPS, FRAMES, TOKENS = 8, 16, 199  # the paper's batch; 197 tokens of ViT-B/16 and two prompts
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
POINTERS = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16",
    torch.float64: "*fp64", torch.uint8: "*u8", torch.int64: "*i64",
}  # fmt: skip
MODULES = {
    info.name: importlib.import_module(f"{kernels.__name__}.{info.name}")
    for info in pkgutil.iter_modules(kernels.__path__)
}


class Launch(NamedTuple):
    kernel: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Recorder:
    """Stands in for a kernel: ``recorder[grid](*args, **kwargs)`` keeps the launch."""

    def __init__(self, kernel: Any, name: str, launches: list[tuple[str, Launch]]) -> None:
        self.kernel, self.name, self.launches = kernel, name, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.record

    def record(self, *args: Any, **kwargs: Any) -> None:
        self.launches.append((self.name, Launch(self.kernel, args, kwargs)))


def kernel_names() -> set[str]:
    """Of all kernels in kernels/, as the recorders call them."""
    return {
        name.removesuffix("_kernel") for module in MODULES.values() for name in kernels_of(module)
    }


def kernels_of(module: Any) -> list[str]:
    return [name for name in vars(module) if name.endswith("_kernel")]


@contextlib.contextmanager
def recording(sm: int) -> Iterator[list[tuple[str, Launch]]]:
    """Inside, kernels are recorders, and tensors on such a GPU may be made, which hold nothing."""
    launches: list[tuple[str, Launch]] = []
    properties = SimpleNamespace(
        major=sm // 10, minor=sm % 10, shared_memory_per_block_optin=LIMITS[sm].shared_per_block
    )
    with contextlib.ExitStack() as patches:
        for module in MODULES.values():
            for name in kernels_of(module):
                recorder = Recorder(getattr(module, name), name.removesuffix("_kernel"), launches)
                patches.enter_context(mock.patch.object(module, name, recorder))
        for name, stand_in in (
            ("get_device_properties", lambda device: properties),
            ("device", lambda device: contextlib.nullcontext()),
        ):
            patches.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        patches.enter_context(FakeTensorMode())
        yield launches


def bottleneck_adapter(case: Case) -> None:
    """Forward and backward with residual and skip."""
    dtype, wide = _dtypes(case)
    x = _empty(CLIPS * FRAMES, TOKENS, case.width, dtype=dtype)
    residual, grad = torch.empty_like(x, dtype=wide), torch.empty_like(x, dtype=wide)
    down, down_bias = _linear(case.hidden, case.width, dtype)
    up, up_bias = _linear(case.width, case.hidden, dtype)
    module = MODULES["bottleneck_adapter"]
    module.forward(x, down, down_bias, up, up_bias, residual, True, 1.0, wide)
    module.backward(grad, x, down, down_bias, up, True, 1.0, wide)


def temporal_adapter(case: Case) -> None:
    """Forward and backward with residual, scaling as in the paper."""
    dtype, wide = _dtypes(case)
    x = _empty(CLIPS, FRAMES, TOKENS, case.width, dtype=dtype)
    residual, grad = torch.empty_like(x, dtype=wide), torch.empty_like(x, dtype=wide)
    norm = _empty(case.width, dtype=wide)
    scale, scale_bias = _linear(1, case.width, dtype)
    down, down_bias = _linear(case.hidden, case.width, dtype)
    gates, gates_bias = _linear(3 * case.hidden, case.hidden, dtype)
    up, up_bias = _linear(case.width, case.hidden, dtype)
    weights = TemporalWeights(
        norm, norm, scale, scale_bias, down, down_bias, gates, gates, gates_bias, gates_bias, up,
        up_bias,
    )  # fmt: skip
    _, saved = triton_backend.forward(x, residual, weights, "after_up", dtype, True)
    triton_backend.backward(grad, x, saved, weights, "after_up", dtype)


def layer_norm(case: Case) -> None:
    """Both passes, of x itself, and with a sum, prompts and trained weights."""
    dtype, wide = _dtypes(case)
    x = _empty(CLIPS * FRAMES, TOKENS, case.width, dtype=dtype)
    residual, weight = torch.empty_like(x), _empty(case.width, dtype=wide)
    learned, moments = _empty(len(x), 2, case.width, dtype=wide), _empty(2, len(x) * TOKENS)
    none, vector = _empty(0), _empty(case.width)
    module = MODULES["layer_norm"]
    module.forward(x, weight, weight, None, None, 0, 1e-5, none, residual, moments)
    module.forward(x, weight, weight, residual, learned, 197, 1e-5, x, residual, moments)
    module.backward(x, x, x, weight, moments, 0, residual, none, none, none)
    module.backward(x, x, x, weight, moments, 197, residual, learned, vector, vector)


def feed_forward(case: Case) -> None:
    """What stands between the products, of both activations."""
    dtype, wide = _dtypes(case)
    hidden = _empty(CLIPS * FRAMES * TOKENS, 4 * case.width, dtype=dtype)
    bias, out = _empty(4 * case.width, dtype=wide), torch.empty_like(hidden)
    for activation in ("quick_gelu", "gelu"):
        MODULES["feed_forward"].forward(hidden, bias, activation, out)
        MODULES["feed_forward"].backward(out, hidden, bias, activation, out)


def attention(case: Case) -> None:
    """Of heads as wide as CLIP's, and of those of twice the width; also causal."""
    dtype, _ = _dtypes(case)
    qkv = _empty(CLIPS * FRAMES, TOKENS, 3 * case.width, dtype=dtype)
    out, dqkv = _empty(*qkv.shape[:2], case.width, dtype=dtype), torch.empty_like(qkv)
    for width in (64, 128):
        heads = case.width // width
        lse = _empty(len(qkv), heads, TOKENS)
        for causal in (False, True):
            MODULES["attention"].forward(qkv, heads, causal, out, lse)
            MODULES["attention"].backward(out, qkv, out, lse, heads, causal, dqkv)


def pixels(case: Case) -> None:
    """Frames by themselves, normalized, and mixed in both ways; the colours first and last."""
    dtype, _ = _dtypes(case)
    frames = _empty(CLIPS, FRAMES, 3, SIDE, SIDE, dtype=torch.uint8)
    mean = _empty(3, 1, 1, dtype=torch.float64)
    partners = _empty(CLIPS, dtype=torch.int64)
    keep = _empty(SIDE, SIDE, dtype=torch.bool)
    for images in (frames, frames.movedim(-3, -1).contiguous().movedim(-1, -3)):
        out = torch.empty_like(images, dtype=dtype)
        for norm in (None, mean):
            for mixing in ((None, None), (partners, None), (partners, keep)):
                MODULES["pixels"].forward(images, norm, norm, *mixing, 0.4, out)


OPERATORS = {
    operator.__name__: operator
    for operator in (
        bottleneck_adapter,
        temporal_adapter,
        layer_norm,
        feed_forward,
        attention,
        pixels,
    )
}


def _dtypes(case: Case) -> tuple[torch.dtype, torch.dtype]:
    return DTYPES[case.dtype], DTYPES[case.wide_dtype]


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")


def _linear(out: int, in_: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty(out, in_, dtype=dtype), _empty(out, dtype=dtype)


def measure(operator: str, case: Case, sm: int) -> dict[str, Usage]:
    """Kernel -> what it uses; further forms of a kernel are numbered."""
    with recording(sm) as launches:
        OPERATORS[operator](case)
    sources: dict[str, list[tuple[ASTSource, dict[str, Any]]]] = {}
    for name, launch in launches:
        forms = sources.setdefault(name, [])
        source, options = specialise(launch)
        if all((source.hash(), options) != (other.hash(), o) for other, o in forms):
            forms.append((source, options))
    return {
        f"{name} {number}" if number > 1 else name: compile_for(sm, *form)
        for name, forms in sources.items()
        for number, form in enumerate(forms, 1)
    }


def specialise(launch: Launch) -> tuple[ASTSource, dict[str, Any]]:
    """The source that Triton would compile for these arguments, and its options."""
    kernel, args, kwargs = launch
    options = {name: kwargs[name] for name in kwargs if name not in kernel.arg_names}
    signature, constants, attributes = {}, {}, {}
    values = dict(zip(kernel.arg_names, args, strict=False)) | kwargs
    for i, name in enumerate(kernel.arg_names):
        value = values[name]
        if name in kwargs or value is None or (type(value) is int and value == 1):
            signature[name] = "constexpr"
            constants[name] = value
        elif isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
            if value.storage_offset() * value.element_size() % 16 == 0:
                attributes[i,] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[i,] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, attributes), options


def compile_for(sm: int, source: ASTSource, options: dict[str, Any]) -> Usage:
    compiled = triton.compile(source, target=GPUTarget("cuda", sm, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        (usage,) = cubins.read(Path(file.name)).values()
    threads = 32 * compiled.metadata.num_warps
    return usage._replace(shared=compiled.metadata.shared, threads=threads)
