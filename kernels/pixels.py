"""Triton: uint8 frames -> scaled, mixed and normalized frames in the dtype of the step.

Floor. Of N numbers one byte each is read and e bytes are written: (1 + e) N. For 32 clips of 16
frames of 224 pixels (N = 77.1 million) in bf16 that is 231 MB, 54 us at 4.3 TB/s. PyTorch takes
four passes in a step with FMix, float32 in between: 2.39 GB, 0.56 ms; in inference three, 1.46 GB.

A program has one block of one image of one clip, and the clips go first: the programs that run
together have the same block of all clips, so that a partner's numbers are in the cache from the
program that has them as its own. Divisions are rounded to nearest, as a CPU's are: without Mixup
the result has the reference's bits in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.tiles import launch_options, on_device, round_to

ELEMENTS, WARPS = 4096, 8  # of a program: 16 bytes are a thread's load


@triton.jit
def pixels_kernel(
    frames_ptr, mean_ptr, std_ptr, partners_ptr, keep_ptr, out_ptr,
    clips, images, clip_stride, image_stride, share,
    C: tl.constexpr, PLANE: tl.constexpr, LAST: tl.constexpr, NORMALIZE: tl.constexpr,
    MIX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """C colours of PLANE pixels are an image, the colours innermost where LAST. MIX is "fmix",
    "mixup" or nothing."""
    program = tl.program_id(0)
    blocks: tl.constexpr = (C * PLANE + BLOCK - 1) // BLOCK
    clip = (program % clips).to(tl.int64)
    image = (program // clips // blocks).to(tl.int64)
    n = program // clips % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = n < C * PLANE
    at = frames_ptr + image * image_stride + n
    x = tl.load(at + clip * clip_stride, mask=inside, other=0).to(tl.float32)
    if MIX != "":
        partner = tl.load(partners_ptr + clip)
        other = tl.load(at + partner * clip_stride, mask=inside, other=0).to(tl.float32)
        if MIX == "fmix":
            pixel = n // C if LAST else n % PLANE
            x = tl.where(tl.load(keep_ptr + pixel, mask=inside, other=0) != 0, x, other)
        else:  # from the nearer end, as torch.lerp does it
            near, far = other + share * (x - other), x - (1.0 - share) * (x - other)
            x = tl.where(share < 0.5, near, far)
    x = tl.div_rn(x, 255.0)
    if NORMALIZE:
        channel = n % C if LAST else n // PLANE
        x -= tl.load(mean_ptr + channel, mask=inside, other=0.0).to(tl.float32)
        x = tl.div_rn(x, tl.load(std_ptr + channel, mask=inside, other=1.0).to(tl.float32))
    into = out_ptr + (clip * images + image) * (C * PLANE) + n
    tl.store(into, round_to(x, out_ptr.dtype.element_ty), mask=inside)


def forward(
    frames: Tensor, mean: Tensor | None, std: Tensor | None, partners: Tensor | None,
    keep: Tensor | None, share: float, out: Tensor,
) -> None:  # fmt: skip
    """frames (..., C, H, W) uint8 -> `out`, dense, with (C, H, W) or with (H, W, C) in memory.

    mean and std are (C, 1, 1); partners (B,) int64 and keep (H, W) bool are as of the operator.
    """
    if frames.numel() == 0:
        return
    colours, height, width = frames.shape[-3:]
    numbers = colours * height * width
    last = not out.is_contiguous()
    ordered = frames.movedim(-3, -1) if last else frames
    clips = len(frames) if frames.dim() > 3 else 1
    rows = ordered.reshape(clips, -1, numbers)
    if rows.stride(2) != 1:
        rows = rows.contiguous()
    images = rows.shape[1]
    mask = None if keep is None else keep.contiguous().view(torch.uint8)
    mix = "" if partners is None else "mixup" if keep is None else "fmix"
    with on_device(out):
        pixels_kernel[(clips * images * triton.cdiv(numbers, ELEMENTS),)](
            rows,
            *(rows if t is None else t.contiguous() for t in (mean, std, partners, mask)),
            out, clips, images, rows.stride(0), rows.stride(1), share,
            C=colours, PLANE=height * width, LAST=last, NORMALIZE=mean is not None, MIX=mix,
            BLOCK=ELEMENTS, **launch_options(WARPS, 1, out.dtype),
        )  # fmt: skip
