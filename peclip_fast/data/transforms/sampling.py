"""Which frames of a clip are taken (the TSN sampling of the field)."""

from __future__ import annotations

import torch


def sample_indices(
    num_frames: int,
    segments: int = 16,
    train: bool = False,
    generator: torch.Generator | None = None,
) -> list[int]:
    """One frame index per segment.

    A clip of at most ``segments`` frames gives all its frames, the last one repeated. For longer
    clips testing takes ``int(t / 2 + t * k)`` with ``t = num_frames / segments``; training cuts
    segments of ``num_frames // segments`` whole frames and takes a random one of each.

    Args:
        num_frames: frames of the clip, at least 1.
        segments: how many indices to give.
        train: random frames, otherwise the middle ones.
        generator: source of the random numbers in training; None is torch's global one.

    Returns:
        ``segments`` ascending indices in ``[0, num_frames)``.
    """
    if num_frames < 1 or segments < 1:
        raise ValueError(
            f"sample_indices: {num_frames} frames, {segments} segments; both must be at least 1"
        )
    if num_frames <= segments:
        return [min(k, num_frames - 1) for k in range(segments)]
    if train:
        length = num_frames // segments
        offsets = torch.randint(length, (segments,), generator=generator).tolist()
        return [k * length + offset for k, offset in enumerate(offsets)]
    tick = num_frames / segments
    return [int(tick / 2 + tick * k) for k in range(segments)]
