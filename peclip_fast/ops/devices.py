"""What kernels for a GPU need: a GPU, Triton or its interpreter."""

from __future__ import annotations

import functools
import importlib.util
import os

import torch


@functools.cache
def gpu_missing() -> str | None:
    """Why there is no GPU for PyTorch, or None."""
    if torch.cuda.is_available():
        return None
    return "torch sees no CUDA GPU" if torch.version.cuda else "this torch is built without CUDA"


@functools.cache
def cudnn_missing() -> str | None:
    """Why cuDNN can't be used, or None."""
    if reason := gpu_missing():
        return reason
    return None if torch.backends.cudnn.is_available() else "this torch has no cuDNN"


@functools.cache
def triton_missing() -> str | None:
    """Why Triton kernels can't be used, or None. TRITON_INTERPRET=1 stands in for a GPU."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None if interpreting() else gpu_missing()


def interpreting() -> bool:
    """Whether Triton runs its kernels in its interpreter, on CPU tensors as well."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"
