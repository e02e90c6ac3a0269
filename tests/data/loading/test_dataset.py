from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from peclip_fast.config.data import AugmentConfig, DataConfig
from peclip_fast.data.cues.images import cue_images
from peclip_fast.data.cues.store import Cues, read_cues, write_cues
from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.loading.dataset import BadClip, ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.randomness import derived_generator
from peclip_fast.data.records import ClipRecord
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


def test_a_window_of_a_clip(records: list[ClipRecord]) -> None:
    """Frame k of the first clip has the grey 20 + 5 k."""
    config = DataConfig(frames=4, sampling="window", stride=4)
    greys = ClipDataset(records, config, 32, train=False).load(0)["frames"].float().mean((1, 2, 3))
    assert torch.allclose(greys, 20.0 + 5 * torch.tensor([12.0, 16, 20, 24]), atol=1)
    still = replace(config, augment=AugmentConfig(1, 1, hflip=0, brightness=0))
    firsts = set()
    for epoch in range(20):
        item = ClipDataset(records, still, 32, train=True).load(1, epoch)
        assert item["frames"].shape == (4, 3, 32, 32)
        firsts.add(float(item["frames"][0].float().mean().round()))
    assert len(firsts) > 4


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


def words(texts: Sequence[str], *, cut: bool) -> torch.Tensor:
    """Stands for a model's tokenizer: the lengths of the words."""
    assert cut
    rows = [[len(word) for word in text.split()] for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


@pytest.fixture
def seen(tmp_path: Path, frames_at: Writer) -> list[ClipRecord]:
    """Clips whose landmarks move to the right by a pixel a frame, and what is said of them."""
    made = []
    for name, text in (("a", "brows rise"), ("b", "the jaw drops slowly")):
        start = np.random.default_rng().uniform(10, 20, (68, 2))
        points = start + np.arange(20)[:, None, None] * (1, 0)
        regions = np.full((20, 4, 4), 2, np.uint8)
        write_cues(tmp_path / f"{name}.npz", Cues(points, (48, 64), regions))
        clip = frames_at(tmp_path / name, 20)
        made.append(ClipRecord(clip, 0, cues=tmp_path / f"{name}.npz", description=text))
    return made


ALL = ("frames", "parsing", "landmarks", "descriptions")


def test_what_the_model_sees_comes_along(seen: list[ClipRecord]) -> None:
    dataset = ClipDataset(seen, DataConfig(), 32, False, inputs=ALL, tokenize=words)
    batch = dataset.collate([dataset[0], dataset[1]])
    for name in ALL[:3]:
        assert batch[name].shape == (2, 16, 3, 32, 32)
        assert batch[name].dtype == torch.uint8
    assert batch["descriptions"].tolist() == [[5, 4, 0, 0], [3, 3, 5, 6]]
    assert len(batch["landmarks"][0].unique(dim=0)) > 8  # they move
    alone = ClipDataset(seen, DataConfig(), 32, False)
    assert torch.equal(alone.load(0)["frames"], dataset.load(0)["frames"])
    assert set(alone.load(0)) == {"frames", "label", "index"}


def test_cues_are_of_the_frames_that_were_taken(seen: list[ClipRecord]) -> None:
    """With the same crop: landmarks of frame k lie k pixels to the right of the first's."""
    still = AugmentConfig(brightness=0, hflip=0)
    config = DataConfig(frames=4, augment=still)
    dataset = ClipDataset(seen, config, 64, True, seed=3, inputs=ALL[:3])
    item = dataset.load(0, epoch=2)
    generator = derived_generator(3, 2, 0)
    taken = dataset.draw_frames(20, generator)
    height, width = open_record(seen[0]).read([0]).shape[1:3]
    transform = dataset.draw_transform(height, width, generator)
    cues = read_cues(seen[0].cues, taken)
    for name in ("parsing", "landmarks"):
        expected = cue_images(name, cues, (height, width), transform, 64)
        assert torch.equal(item[name], expected)


def test_clips_without_cues_or_words_are_bad_ones(seen: list[ClipRecord]) -> None:
    bare = [ClipRecord(seen[0].path, 0)]
    for inputs, told in ((ALL[:2], "data.cues has no cues"), (ALL[3:], "data.descriptions has no")):
        found = ClipDataset(bare, DataConfig(), 32, False, inputs=inputs, tokenize=words)[0]
        assert isinstance(found, BadClip)
        assert told in found.reason
    short = seen[0].cues
    write_cues(short, read_cues(short, range(10)))
    found = ClipDataset(seen, DataConfig(), 32, False, inputs=ALL[:2])[0]
    assert isinstance(found, BadClip)
    assert "cues of 10 frames" in found.reason


def test_noise_is_the_same_whenever_a_clip_is_tested(seen: list[ClipRecord]) -> None:
    plain, noisy = (ClipDataset(seen, DataConfig(noise=n), 32, False, seed=1) for n in (0, 0.2))
    first, second, other = noisy.load(0)["frames"], noisy.load(0)["frames"], noisy.load(1)["frames"]
    assert torch.equal(first, second)
    grain = first.float() - plain.load(0)["frames"].float()
    assert 20 < grain.std() < 52
    assert not torch.equal(grain, other.float() - plain.load(1)["frames"].float())
    training = ClipDataset(seen, DataConfig(noise=0.2), 32, True, seed=1)
    assert not torch.equal(training.load(0, 0)["frames"], training.load(0, 1)["frames"])


def test_dali_gives_frames_alone(seen: list[ClipRecord]) -> None:
    for config, inputs in ((DataConfig(noise=0.1), ALL[:1]), (DataConfig(), ALL[:2])):
        dataset = ClipDataset(seen, replace(config, decoder="dali"), 32, False, inputs=inputs)
        with pytest.raises(InputError, match=r"data\.decoder=dali: gives only frames"):
            make_loader(dataset, 2)
