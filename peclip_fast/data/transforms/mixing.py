"""Mixup and FMix of a batch, at most one of them per batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peclip_fast.config.data import MixConfig


def mix_batch(
    frames: torch.Tensor,
    targets: torch.Tensor,
    config: MixConfig,
    *,
    seed: int,
    step: int,
    rank: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixes the clips of a batch with each other, or leaves them.

    The draws are a function of (seed, step, rank) and the same on every device, so a resumed
    run goes on as if it had not stopped.

    Args:
        frames: float (B, T, 3, H, W), on any device; not changed.
        targets: one-hot float (B, C).
        config: probabilities and parameters.
        seed: of the run.
        step: number of the training batch from the start of the run.
        rank: of the process; ranks draw on their own.

    Returns:
        Frames (B, T, 3, H, W) and soft targets (B, C).
    """
    rng = np.random.default_rng((seed, step, rank))
    choice = rng.random()
    if len(frames) == 0 or choice >= config.mixup + config.fmix:
        return frames, targets
    partners = _to_device(rng.permutation(len(frames)), frames.device)
    if choice < config.mixup:
        share = float(rng.beta(config.mixup_alpha, config.mixup_alpha))
        share = min(max(share, config.mixup_min), config.mixup_max)
        mixed = torch.lerp(frames[partners], frames, share)
    else:
        share = float(rng.beta(config.fmix_alpha, config.fmix_alpha))
        mask = fmix_mask(frames.shape[-2:], share, config.fmix_decay, rng)
        share = float(mask.mean())
        keep = _to_device(mask, frames.device)
        mixed = torch.where(keep, frames, frames[partners])
    return mixed, torch.lerp(targets[partners], targets, share)


def _to_device(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Through pinned memory, as a copy from other memory waits for all that the GPU has to do."""
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def fmix_mask(
    shape: tuple[int, ...], share: float, decay: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A binary mask of a few smooth patches (FMix, Harris et al. 2020, section 4).

    Args:
        shape: height and width.
        share: part of the pixels that is True, to the nearest pixel.
        decay: power of the noise's fall over frequency.
        rng: source of the noise.

    Returns:
        bool (H, W): the pixels of the highest values of the noise.
    """
    noise = low_frequency_noise(shape, decay, rng).ravel()
    count = round(share * noise.size)
    mask = np.zeros(noise.size, dtype=bool)
    if count:
        mask[np.argpartition(noise, noise.size - count)[noise.size - count :]] = True
    return mask.reshape(shape)


def low_frequency_noise(
    shape: tuple[int, ...], decay: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """White Gaussian noise, filtered so that its amplitude falls as 1 / frequency ** decay.

    Filtering real noise makes all directions alike; drawing half a spectrum, as is often done,
    gives the vertical waves half the power. Frequencies are in cycles per pixel; the mean's, which
    is 0, counts as one cycle over the longer side.

    Args:
        shape: height and width.
        decay: power of the fall.
        rng: source of the noise.
    """
    height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    amplitude = np.maximum(frequency, 1 / max(shape)) ** -decay
    return np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * amplitude, s=shape)
