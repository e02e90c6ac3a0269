"""Mixup and FMix of a batch, at most one of them per batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from peclip_fast.config.data import MixConfig


class Mixing(NamedTuple):
    """How the clips of a batch are mixed with each other.

    Args:
        partners: (B,) int64, the clip that each clip is mixed with.
        keep: bool (H, W), the pixels that a clip keeps in FMix; None in Mixup.
        share: what a clip counts in its target, and in Mixup in its pixels.
    """

    partners: torch.Tensor
    keep: torch.Tensor | None
    share: float

    def to(self, device: torch.device) -> Mixing:
        """The same on a device, through pinned memory: a copy from other memory waits for all that
        the GPU has to do."""
        if device.type == "cpu":
            return self
        keep = None if self.keep is None else _pinned_to(self.keep, device)
        return Mixing(_pinned_to(self.partners, device), keep, self.share)


def draw_mixing(
    clips: int, shape: tuple[int, int], config: MixConfig, *, seed: int, step: int, rank: int = 0
) -> Mixing | None:
    """How a batch is mixed, on the CPU; None leaves it as it is.

    The draws are a function of (seed, step, rank) and the same for every device, so a resumed
    run goes on as if it had not stopped.

    Args:
        clips: of the batch.
        shape: height and width of the frames.
        config: probabilities and parameters.
        seed: of the run.
        step: number of the training batch from the start of the run.
        rank: of the process; ranks draw on their own.
    """
    rng = np.random.default_rng((seed, step, rank))
    choice = rng.random()
    if clips == 0 or choice >= config.mixup + config.fmix:
        return None
    partners = torch.from_numpy(rng.permutation(clips))
    if choice < config.mixup:
        share = float(rng.beta(config.mixup_alpha, config.mixup_alpha))
        return Mixing(partners, None, min(max(share, config.mixup_min), config.mixup_max))
    share = float(rng.beta(config.fmix_alpha, config.fmix_alpha))
    mask = fmix_mask(shape, share, config.fmix_decay, rng)
    return Mixing(partners, torch.from_numpy(mask), float(mask.mean()))


def mix_targets(targets: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    """Soft targets (B, C) of one-hot float ones on the mixing's device."""
    return torch.lerp(targets[mixing.partners], targets, mixing.share)


def _pinned_to(t: torch.Tensor, device: torch.device) -> torch.Tensor:
    return t.pin_memory().to(device, non_blocking=True)


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
