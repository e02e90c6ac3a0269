from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.data.transforms.sampling import sample_indices


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
