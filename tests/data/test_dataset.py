from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from peclip_fast.data import BadClip, ClipDataset, ClipRecord, DataConfig
from peclip_fast.data.config import AugmentConfig
from peclip_fast.errors import InputError

Writer = Callable[..., Path]


@pytest.fixture
def records(tmp_path: Path, frames_at: Writer, video_at: Writer) -> list[ClipRecord]:
    return [
        ClipRecord(frames_at(tmp_path / "a", 40), 0, 40, "l.txt:1"),
        ClipRecord(video_at(tmp_path / "b.mp4", 30), 3, None, "l.txt:2"),
        ClipRecord(frames_at(tmp_path / "c", 5), 6, 5, "l.txt:3"),
    ]


def test_an_item(records: list[ClipRecord]) -> None:
    dataset = ClipDataset(records, DataConfig(), 32, train=False)
    assert len(dataset) == 3
    for index, record in enumerate(records):
        item = dataset[index]
        assert isinstance(item, dict)
        assert item["frames"].shape == (16, 3, 32, 32)
        assert item["frames"].dtype == torch.uint8
        assert (item["label"], item["index"]) == (record.label, index)
    greys = dataset.load(0)["frames"].float().mean((1, 2, 3))
    expected = torch.tensor([20.0 + 5 * int(40 / 32 + 40 / 16 * k) for k in range(16)])
    assert torch.allclose(greys, expected, atol=1)
    assert len(dataset.load(2)["frames"].unique(dim=0)) == 5  # the last frame is repeated


@pytest.mark.parametrize("train", [False, True])
def test_items_are_a_function_of_seed_epoch_and_index(
    records: list[ClipRecord], train: bool
) -> None:
    config = DataConfig(augment=AugmentConfig(rotation=5, contrast=0.3))

    def frames(seed: int, epoch: int, index: int) -> torch.Tensor:
        return ClipDataset(records, config, 32, train, seed).load(index, epoch)["frames"]

    first = frames(1, 2, 0)
    torch.manual_seed(99)
    assert torch.equal(first, frames(1, 2, 0))
    assert torch.equal(first, frames(7, 2, 0)) != train
    assert torch.equal(first, frames(1, 3, 0)) != train


def test_epoch_comes_with_the_key(records: list[ClipRecord]) -> None:
    dataset = ClipDataset(records, DataConfig(), 32, train=True)
    item = dataset[(4, 1)]
    assert isinstance(item, dict)
    assert torch.equal(item["frames"], dataset.load(1, epoch=4)["frames"])
    assert not torch.equal(item["frames"], dataset.load(1, epoch=5)["frames"])


def test_one_draw_for_all_frames(tmp_path: Path) -> None:
    ramp = np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3) // 49
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "1.png")
    clip = ClipRecord(tmp_path, 0)  # 16 times the same frame
    config = DataConfig(augment=AugmentConfig(rotation=20, contrast=0.3, saturation=0.3))
    dataset = ClipDataset([clip], config, 24, train=True)
    seen = [dataset.load(0, epoch)["frames"] for epoch in range(10)]
    for frames in seen:
        assert (frames == frames[:1]).all()
    assert len(torch.stack(seen)[:, 0].unique(dim=0)) == 10


def test_bad_clips(tmp_path: Path, records: list[ClipRecord]) -> None:
    bad = ClipRecord(records[0].path, 1, 41, "l.txt:4")
    dataset = ClipDataset([*records, bad], DataConfig(), 16, train=False)
    with pytest.raises(InputError, match=r"a: 40 frames on disk, but l\.txt:4 says 41"):
        dataset.load(3)
    item = dataset[3]
    assert isinstance(item, BadClip)
    assert item.clip == 3
    batch = dataset.collate([dataset[2], item, dataset[0]])
    assert batch["frames"].shape == (2, 16, 3, 16, 16)
    assert batch["label"].tolist() == [6, 0]
    assert batch["index"].tolist() == [2, 0]
    assert batch["bad"] == [item]
    assert torch.equal(batch["frames"][1], dataset.load(0)["frames"])
    empty = dataset.collate([item])
    assert empty["frames"].shape == (0, 16, 3, 16, 16)
    assert empty["label"].shape == empty["index"].shape == (0,)
    assert empty["label"].dtype == torch.int64
