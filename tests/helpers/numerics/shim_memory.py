"""Tells the shim which tensors kernels may touch, and poisons those that nothing has written."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class WatchedMemory(TorchDispatchMode):
    """Within it, every tensor that PyTorch makes may be read and written, the inputs only read.

    What `torch.empty` and its like give is full of NaN. An address outside of these tensors ends a
    kernel with an error, even one that lies a single byte behind the end.
    """

    def __init__(self, library: Path, inputs: Iterable[Tensor | None] = ()) -> None:
        super().__init__()
        self._shim = ctypes.CDLL(str(library))
        self._shim.shim_watch.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._inputs = [t for t in inputs if t is not None]
        # Also keeps them alive: no later tensor gets the address of an earlier one.
        self._watched: dict[int, torch.UntypedStorage] = {}

    def __enter__(self) -> WatchedMemory:
        for tensor in self._inputs:
            self._watch(tensor, writable=False)
        return super().__enter__()

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self._shim.shim_forget()
        self._watched.clear()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and self._watch(tensor) and "empty" in func.__name__:
                storage = tensor.untyped_storage()
                ctypes.memset(storage.data_ptr(), 0xFF, storage.nbytes())
        return result

    def _watch(self, tensor: Tensor, writable: bool = True) -> bool:
        """Whether the tensor's memory is new here."""
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if size == 0 or address in self._watched:
            return False
        if self._shim.shim_watch(address, size, writable) != 0:
            raise RuntimeError(f"{size} bytes at {address:#x} overlap another tensor")
        self._watched[address] = storage
        return True
