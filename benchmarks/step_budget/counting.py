"""Counts what runs on the stand-in of a GPU.

Every call of ATen that computes or moves something counts as one launch, though some have several
kernels, and as the bytes of what it is given and gives, each once. The operators of this package
run as they would on a GPU, but for their kernels: a launch counts the tensors that it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.compile_checks.triton_launches import MODULES, kernels_of
from benchmarks.step_budget.counts import Counts
from benchmarks.step_budget.stand_in import NAME
from peclip_fast.ops import extension
from peclip_fast.ops.register import IMPLEMENTATIONS

aten = torch.ops.aten
PRODUCTS = {
    aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.mv, aten.addmv, aten.convolution,
    aten.convolution_backward,
}  # fmt: skip
ATTENTION = {
    aten._scaled_dot_product_flash_attention, aten._scaled_dot_product_flash_attention_backward,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_efficient_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable,
    aten._scaled_dot_product_fused_attention_overrideable_backward,
}  # fmt: skip
ATTENTION_KERNELS = {"attention_kernel", "attention_backward_kernel"}  # of ours
COPIES = {aten._to_copy, aten.clone, aten.copy_, aten.cat, aten.stack, aten.constant_pad_nd}
NOTHING_RUNS = {
    aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided,
    aten.detach, aten.detach_, aten._unsafe_view, aten.lift_fresh, aten.alias,
}  # fmt: skip
# What gives a size, or a number, that only the GPU knows.
WAITS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.is_nonzero}


class Counting(TorchDispatchMode):
    """Args: wide: numbers from which a tensor is D-wide."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.counts, self.wide = Counts(), wide
        self._pinned: set[int] = set()
        self._kept: list[Tensor] = []  # so that no other tensor gets a pinned one's id

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.namespace == "prim":
            return function(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(
            function.name(), "CompositeImplicitAutograd"
        ):  # inside of our operators, where nothing has taken these apart
            with self:
                return function.decompose(*args, **kwargs)
        packet = function.overloadpacket
        if packet is aten._pin_memory or packet is aten.is_pinned:
            return self._pin(packet, args[0])
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if packet in WAITS and _on_gpu(given):
            self.counts.waits.append(str(packet))
        if packet is aten._local_scalar_dense:  # tensors hold nothing
            return 0.5 if args[0].is_floating_point() else 0
        if packet is aten.nonzero:  # of one number, as nobody knows
            return args[0].new_empty(1, args[0].dim(), dtype=torch.int64)
        if packet is aten.index and given[1].dtype == torch.bool:
            self.counts.waits.append("a mask as an index")
            return args[0].new_empty(1, *args[0].shape[given[1].dim() :])
        if function.namespace == "peclip_fast" and _on_gpu(given):
            torch._C._set_only_lift_cpu_tensors(True)  # in this thread, as the step's has it
            with self:
                return IMPLEMENTATIONS[function._schema.name.split("::")[1]](*args, **kwargs)
        result = function(*args, **kwargs)
        self._count(packet, function, given, kwargs, result)
        return result

    def _pin(self, packet: Any, t: Tensor) -> Any:
        if packet is aten.is_pinned:
            return id(t) in self._pinned
        self.pin(t)
        return t

    def pin(self, t: Tensor) -> None:
        """As what a loader gives."""
        self._pinned.add(id(t))
        self._kept.append(t)

    def _count(
        self, packet: Any, function: Any, given: list[Tensor], kwargs: Any, result: Any
    ) -> None:
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        if not _on_gpu([*given, *made]):
            return
        from_cpu = [t for t in given if t.device.type == "cpu" and t.dim() > 0]
        if from_cpu:
            free = all(id(t) in self._pinned for t in from_cpu) and _does_not_block(packet, kwargs)
            if free:
                self.counts.pinned += 1
            else:
                self.counts.pageable.append(str(packet))
        elif any(t.device.type == "cpu" and t.dim() > 0 for t in made):
            self.counts.waits.append(f"{packet} to the CPU")
        if packet in NOTHING_RUNS or function.is_view:
            return
        written = function._schema.is_mutable
        seen = {id(t) for t in given}
        moved = sum(map(_bytes, given)) + sum(_bytes(t) for t in made if id(t) not in seen)
        moved += sum(_bytes(t) for t in made if id(t) in seen) if written else 0
        self.launch(str(packet), moved, packet in PRODUCTS or packet in ATTENTION)
        if packet in COPIES and any(t.numel() >= self.wide for t in made):
            self.counts.wide_copies += 1

    def launch(self, name: str, moved: int, product: bool = False) -> None:
        """Of a kernel."""
        self.counts.launches += 1
        if not product and name not in ATTENTION_KERNELS:
            self.counts.bytes_outside += moved
            self.counts.by_name[name] += moved


def _on_gpu(tensors: list[Tensor]) -> bool:
    return any(t.device.type == NAME for t in tensors)


def _does_not_block(packet: Any, kwargs: Any) -> bool:
    return packet in (aten._to_copy, aten.copy_) and bool(kwargs.get("non_blocking"))


def _bytes(t: Tensor) -> int:
    """Of its numbers, those that stand in several places once."""
    if t.device.type != NAME:
        return 0
    numbers = 1
    for size, stride in zip(t.shape, t.stride(), strict=True):
        numbers *= size if stride != 0 else min(size, 1)
    return numbers * t.element_size()


@contextlib.contextmanager
def kernels_counted(counting: Counting) -> Iterator[None]:
    """Inside, kernels of this package count their launches and do nothing."""
    tensors: dict[int, Tensor] = {}
    first = 2**40  # numbers from here on stand for tensors

    def address(t: Tensor) -> int:
        tensors[first + len(tensors)] = t
        return first + len(tensors) - 1

    def called(name: str, *arguments: Any) -> None:
        given = [tensors[n] for n in tree_leaves(arguments) if isinstance(n, int) and n in tensors]
        counting.launch(name, _once(given))

    class Compiled:
        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: called(name, *arguments)

    class Triton:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: Any) -> Any:
            return lambda *args, **kwargs: counting.launch(
                self.name, _once([t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)])
            )

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(extension, "load", Compiled))
        patches.enter_context(mock.patch.object(Tensor, "data_ptr", address))
        for module in MODULES.values():
            for name in kernels_of(module):
                patches.enter_context(mock.patch.object(module, name, Triton(name)))
        yield


def _once(tensors: list[Tensor]) -> int:
    return sum(_bytes(t) for t in {id(t): t for t in tensors}.values())
