"""Frames to what a vision encoder reads, as an operator: checks, and the backend that runs it."""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends
from peclip_fast.ops.implementations import run, with_gradients
from peclip_fast.ops.pixels.reference import OP, pixels_reference, result_dtype


def pixels(
    frames: Tensor,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    partners: Tensor | None = None,
    keep: Tensor | None = None,
    share: float = 1.0,
    *,
    dtype: torch.dtype = torch.float32,
    backend: str = "auto",
) -> Tensor:
    """Frames (..., C, H, W) -> (frames / 255, mixed with others, - mean) / std, the same shape.

    Args:
        frames: uint8, or float in [0, 1], which isn't divided by 255 and only the reference takes;
            any leading shape and any strides. With ``partners`` they are (B, ..., C, H, W).
        mean, std: (C, 1, 1), of numbers in [0, 1]; None normalizes nothing.
        partners: (B,) int64 from 0 to B - 1, which isn't checked: the clip that each clip is mixed
            with; None mixes nothing.
        keep: (H, W) bool, the pixels that a clip keeps (FMix, CutMix); all others are its
            partner's. None mixes each pixel (Mixup).
        share: of Mixup, what a clip counts, from 0 to 1; its partner counts the rest.
        dtype: of the result, and of what the reference normalizes in.
        backend: ``auto``, ``reference`` or ``triton``, which gives no gradients.

    Under autocast the result has autocast's dtype on a GPU, as it goes into products. The kernel
    computes in float32.

    Raises:
        InputError: a tensor has the wrong shape, dtype or device, or `backend` can't run this.
    """
    _check(frames, mean, std, partners, keep, share, dtype)
    tensors = {"frames": frames, "mean": mean, "std": std, "partners": partners, "keep": keep}
    whole = frames.dtype == torch.uint8
    if backend not in ("auto", "reference") and not whole:
        raise InputError(f"{OP}: frames are {frames.dtype}; the {backend} backend takes uint8")
    if backend != "reference" and whole:
        to = result_dtype(frames, dtype)
        chosen = backends.select(OP, backend, frames.device, to, frames.shape[-1], 1)
        chosen = with_gradients(OP, backend, chosen, tensors)
        if chosen != "reference":
            for name, tensor in tensors.items():
                if tensor is not None and tensor.device != frames.device:
                    raise InputError(
                        f"{OP}: {name} is on {tensor.device}, frames on {frames.device}"
                    )
            answer: Tensor = run(OP, chosen, {**tensors, "share": float(share), "dtype": to})
            return answer
    return pixels_reference(frames, mean, std, partners, keep, share, dtype)


def _check(
    frames: Tensor, mean: Tensor | None, std: Tensor | None, partners: Tensor | None,
    keep: Tensor | None, share: float, dtype: torch.dtype,
) -> None:  # fmt: skip
    floats = frames.dtype.is_floating_point
    if frames.dtype != torch.uint8 and not floats:
        raise InputError(f"{OP}: frames are {frames.dtype}, expected uint8, or float in [0, 1]")
    if not dtype.is_floating_point:
        raise InputError(f"{OP}: dtype={dtype}, expected one of floats")
    least = 3 if partners is None else 4
    if frames.dim() < least:
        expected = "(..., C, H, W)" if partners is None else "(B, ..., C, H, W)"
        raise InputError(f"{OP}: frames have shape {tuple(frames.shape)}, expected {expected}")
    colours, height, width = frames.shape[-3:]
    if (mean is None) != (std is None):
        raise InputError(f"{OP}: expected mean and std, or neither")
    if keep is not None and partners is None:
        raise InputError(f"{OP}: keep says what a clip has of itself, expected partners as well")
    shapes = {
        "mean": (mean, (colours, 1, 1), None),
        "std": (std, (colours, 1, 1), None),
        "partners": (partners, frames.shape[:1], torch.int64),
        "keep": (keep, (height, width), torch.bool),
    }
    for name, (tensor, shape, kind) in shapes.items():
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise InputError(
                f"{OP}: {name} has shape {tuple(tensor.shape)}, expected {tuple(shape)} "
                f"as frames are {tuple(frames.shape)}"
            )
        if kind is None and not tensor.is_floating_point():
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected floats")
        if kind is not None and tensor.dtype != kind:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected {kind}")
    if not 0 <= share <= 1:
        raise InputError(f"{OP}: share={share}, expected from 0 to 1")
