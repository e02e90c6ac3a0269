from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.data.loading.sampler import ClipBatchSampler

CASES = [
    (n, batch, world) for n in (2, 7, 16, 17, 33, 100) for batch in (1, 4, 8) for world in (1, 2)
]


@pytest.mark.parametrize(("clips", "batch", "world"), [*CASES, (17, 8, 3), (50, 8, 3)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_clip_comes_once(clips: int, batch: int, world: int, shuffle: bool) -> None:
    ranks = [ClipBatchSampler(clips, batch, shuffle, 3, rank, world) for rank in range(world)]
    for epoch in range(2):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        batches = [list(sampler) for sampler in ranks]
        keys = [key for rank in batches for b in rank for key in b]
        assert sorted(keys) == [(epoch, index) for index in range(clips)]
        assert [len(rank) for rank in batches] == [len(sampler) for sampler in ranks]
        assert len({len(rank) for rank in batches}) == 1  # they step together
        whole = [sum(map(len, parts)) for parts in zip(*batches, strict=True)]
        assert whole[:-1] == [batch] * (len(whole) - 1)
        for sampler, parts in zip(ranks, batches, strict=True):
            assert max(map(len, parts)) <= sampler.most_clips


@given(
    clips=st.integers(1, 400), batch=st.integers(1, 40), world=st.integers(1, 9),
    shuffle=st.booleans(), seed=st.integers(0, 2**31), epoch=st.integers(0, 1000),
    start=st.integers(0, 50),
)  # fmt: skip
def test_an_epoch_has_each_clip_once_wherever_it_starts(
    clips: int, batch: int, world: int, shuffle: bool, seed: int, epoch: int, start: int
) -> None:
    """Over any number of processes; what is left after some batches is what came after them."""
    samplers = [ClipBatchSampler(clips, batch, shuffle, seed, r, world) for r in range(world)]
    seen: list[tuple[int, int]] = []
    for sampler in samplers:
        sampler.set_epoch(epoch)
        whole = list(sampler)
        assert len(whole) == sampler.batches_per_epoch
        assert all(len(chosen) <= sampler.most_clips for chosen in whole)
        sampler.set_epoch(epoch, start)
        assert list(sampler) == whole[start:]
        assert len(sampler) == len(whole[start:])
        seen += [key for chosen in whole for key in chosen]
    assert sorted(seen) == [(epoch, index) for index in range(clips)]
    assert {sampler.batches_per_epoch for sampler in samplers} == {-(-clips // batch)}


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ClipBatchSampler(50, 8, True, seed)
        sampler.set_epoch(epoch)
        return [index for batch in sampler for _, index in batch]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert [k for b in ClipBatchSampler(50, 8, False) for _, k in b] == list(range(50))


def test_processes_share_the_batch_of_one() -> None:
    whole = list(ClipBatchSampler(32, 8, True, 5))
    thirds = [list(ClipBatchSampler(32, 8, True, 5, rank, 3)) for rank in range(3)]
    assert [sorted(b) for b in whole] == [
        sorted(itertools.chain(*parts)) for parts in zip(*thirds, strict=True)
    ]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("done", range(6))
def test_resume_in_the_middle(shuffle: bool, done: int) -> None:
    sampler = ClipBatchSampler(35, 8, shuffle, 2, 1, 2)
    sampler.set_epoch(7)
    whole = list(sampler)
    assert len(whole) == sampler.batches_per_epoch == 5
    sampler.set_epoch(7, start_batch=done)
    assert list(sampler) == whole[done:]
    assert len(sampler) == len(whole) - done
