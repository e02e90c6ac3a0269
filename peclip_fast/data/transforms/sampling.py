"""Which frames of a clip are taken: one of each segment (TSN's), or a window of the clip."""

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


def sample_window(
    num_frames: int,
    length: int = 16,
    stride: int = 1,
    train: bool = False,
    generator: torch.Generator | None = None,
) -> list[int]:
    """Frames in a row, of every ``stride``-th frame of the clip, which goes round and round.

    Args:
        num_frames: frames of the clip, at least 1.
        length: how many indices to give.
        stride: from one frame to the next.
        train: a window that starts anywhere, otherwise the middle one.
        generator: source of the random numbers in training; None is torch's global one.

    Returns:
        ``length`` indices in ``[0, num_frames)``, which start anew after the last one.
    """
    if num_frames < 1 or length < 1 or stride < 1:
        raise ValueError(
            f"sample_window: {num_frames} frames, {length} of them, {stride} apart; all must be at "
            "least 1"
        )
    taken = range(0, num_frames, stride)
    start = max(0, (len(taken) - length) // 2)
    if train:
        start = int(torch.randint(len(taken), (), generator=generator))
    return [taken[(start + k) % len(taken)] for k in range(length)]
