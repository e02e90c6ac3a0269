from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peclip_fast.config.data import DataConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import default_workers, make_loader
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError

Writer = Callable[..., Path]


@pytest.fixture
def records(tmp_path: Path, frames_at: Writer) -> list[ClipRecord]:
    return [
        ClipRecord(frames_at(tmp_path / f"{k}", 17 + k), k % 7, 17 + k, f"l.txt:{k + 1}")
        for k in range(11)
    ]


def batches(
    records: list[ClipRecord],
    *,
    workers: int = 0,
    train: bool = True,
    epoch: int = 0,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
) -> list[dict]:
    dataset = ClipDataset(records, DataConfig(num_workers=workers), 16, train, seed=4)
    loader = make_loader(dataset, 2, rank=rank, world_size=world)
    loader.set_epoch(epoch, start)
    return list(loader)


def same(a: list[dict], b: list[dict]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x[key], y[key])
        for x, y in zip(a, b, strict=True)
        for key in ("frames", "label", "index")
    )


def test_batches_do_not_depend_on_the_workers(records: list[ClipRecord]) -> None:
    here = batches(records, epoch=1)
    assert here[0]["frames"].shape == (2, 16, 3, 16, 16)
    assert same(here, batches(records, epoch=1, workers=1))
    assert same(here, batches(records, epoch=1, workers=2))
    assert not same(here, batches(records, epoch=2))


def test_resume_gives_the_rest_of_the_epoch(records: list[ClipRecord]) -> None:
    whole = batches(records, epoch=3)
    assert same(batches(records, epoch=3, start=4, workers=2), whole[4:])


def test_kept_workers_follow_the_epoch(records: list[ClipRecord]) -> None:
    dataset = ClipDataset(records, DataConfig(num_workers=2), 16, True, seed=4)
    loader = make_loader(dataset, 2)
    next(iter(loader))  # an epoch that is left early
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        assert same(list(loader), batches(records, epoch=epoch))


@pytest.mark.parametrize("train", [False, True])
def test_two_workers_in_each_of_two_processes_see_every_clip_once(
    records: list[ClipRecord], train: bool
) -> None:
    seen = [
        index
        for rank in range(2)
        for batch in batches(records, workers=2, train=train, rank=rank, world=2)
        for index in batch["index"].tolist()
    ]
    assert sorted(seen) == list(range(11))


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_clip_stops_the_run_in_one_line(records: list[ClipRecord], workers: int) -> None:
    (records[6].path / "00003.jpg").unlink()
    with pytest.raises(InputError) as caught:
        batches(records, workers=workers)
    assert str(caught.value) == f"{records[6].path}: 22 frames on disk, but l.txt:7 says 23"


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_clip_is_left_out_and_listed(records: list[ClipRecord], workers: int) -> None:
    for k in (4, 5, 10):  # a whole batch, and the last one, which is alone
        (records[k].path / "00003.jpg").write_bytes(b"no image")
        (records[k].path / "00001.jpg").unlink()
    config = DataConfig(num_workers=workers, on_bad_clip="skip")
    loader = make_loader(ClipDataset(records, config, 16, False), 2)
    seen = list(loader)
    assert [batch["index"].tolist() for batch in seen] == [[0, 1], [2, 3], [], [6, 7], [8, 9], []]
    assert [bad.clip for batch in seen for bad in batch["bad"]] == [4, 5, 10]
    assert "says 27" in seen[-1]["bad"][0].reason


def test_too_few_clips(records: list[ClipRecord]) -> None:
    with pytest.raises(InputError, match=r"^0 test clips: expected at least 1$"):
        batches([], train=False)
    with pytest.raises(InputError, match=r"^1 training clips: expected at least 2$"):
        batches(records[:1], world=2)
    (none,) = batches(records[:1], train=False, rank=1, world=2)
    assert (len(none["label"]), none["bad"]) == (0, [])


def test_default_workers() -> None:
    assert 1 <= default_workers() <= 8
    assert default_workers(world_size=10_000) == 1
