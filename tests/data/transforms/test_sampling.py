from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.data.transforms.sampling import sample_indices, sample_window


@given(n=st.integers(1, 10**6), segments=st.integers(1, 64), seed=st.integers(0, 2**31))
def test_each_segment_gives_one_frame(n: int, segments: int, seed: int) -> None:
    """Ascending, none beyond the clip, and none outside of its own segment."""
    generator = torch.Generator().manual_seed(seed)
    for indices in (sample_indices(n, segments), sample_indices(n, segments, True, generator)):
        assert len(indices) == segments
        assert indices == sorted(indices)
        assert 0 <= indices[0] <= indices[-1] < n
        if n > segments:
            assert len(set(indices)) == segments
            assert all(
                k * (n // segments) <= index < (k + 1) * n / segments
                for k, index in enumerate(indices)
            )


@pytest.mark.parametrize("n", range(1, 301))
def test_testing_takes_the_middle_of_each_segment(n: int) -> None:
    if n <= 16:
        expected = list(range(n)) + [n - 1] * (16 - n)
    else:
        expected = [int(n / 16 / 2 + n / 16 * k) for k in range(16)]
    assert sample_indices(n) == expected


@pytest.mark.parametrize("n", [1, 5, 16])
def test_short_clips_are_the_same_in_training(n: int) -> None:
    assert sample_indices(n, train=True) == sample_indices(n)


@pytest.mark.parametrize("n", [17, 31, 32, 50, 300])
def test_training_is_uniform_within_whole_segments(n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.tensor([sample_indices(n, 16, True, generator) for _ in range(4000)])
    length = n // 16
    offsets = draws - length * torch.arange(16)
    assert offsets.min() >= 0
    assert offsets.max() == length - 1
    share = torch.stack([(offsets == k).float().mean() for k in range(length)])
    assert torch.allclose(share, torch.full((length,), 1 / length), atol=0.01)
    if length > 1:  # segments are drawn apart from each other
        assert torch.corrcoef(offsets.T.float()).fill_diagonal_(0).abs().max() < 0.08


def test_generator_decides_the_draw() -> None:
    first = sample_indices(100, train=True, generator=torch.Generator().manual_seed(3))
    assert first == sample_indices(100, train=True, generator=torch.Generator().manual_seed(3))
    assert first != sample_indices(100, train=True, generator=torch.Generator().manual_seed(4))


def test_other_numbers_of_segments() -> None:
    assert sample_indices(10, segments=2) == [2, 7]
    assert sample_indices(3, segments=5) == [0, 1, 2, 2, 2]


@pytest.mark.parametrize(("n", "segments"), [(0, 16), (-1, 16), (5, 0)])
def test_nothing_to_sample_is_refused(n: int, segments: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample_indices(n, segments)


@pytest.mark.parametrize(
    ("n", "length", "stride", "expected"),
    [
        (200, 3, 4, [92, 96, 100]),  # the middle of 50 frames
        (8, 4, 1, [2, 3, 4, 5]),
        (9, 4, 2, [0, 2, 4, 6]),
        (9, 8, 4, [0, 4, 8, 0, 4, 8, 0, 4]),  # round and round
        (1, 3, 4, [0, 0, 0]),
        (5, 5, 1, [0, 1, 2, 3, 4]),
    ],
)
def test_testing_takes_the_middle_window(n, length, stride, expected) -> None:
    assert sample_window(n, length, stride) == expected


@pytest.mark.parametrize("n", [1, 3, 4, 5, 33, 128, 129])
def test_training_starts_a_window_anywhere(n: int) -> None:
    """EmoCLIP's: every 4th frame, then 32 in a row, which wrap around."""
    generator = torch.Generator().manual_seed(0)
    taken = list(range(0, n, 4))
    starts = set()
    for _ in range(400):
        window = sample_window(n, 32, 4, True, generator)
        first = taken.index(window[0])
        starts.add(first)
        assert window == [taken[(first + k) % len(taken)] for k in range(32)]
    assert starts == set(range(len(taken)))


@pytest.mark.parametrize("sizes", [(0, 1, 1), (5, 0, 1), (5, 1, 0)])
def test_no_window(sizes) -> None:
    with pytest.raises(ValueError, match="all must be at least 1"):
        sample_window(*sizes)
