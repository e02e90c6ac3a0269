"""Batches, damaged files and forks do the DALI decoder no harm."""

from __future__ import annotations

import gc
import io
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.clips.dali_cases import EXACT, STEPS, assert_same, devices
from helpers.clips.drawn_clips import picture, write_pictures
from PIL import Image

from peclip_fast.config.data import AugmentConfig, DataConfig
from peclip_fast.data.loading.dali.decoder import DaliDecoder
from peclip_fast.data.loading.dali.encoded_clip import EncodedClip, read_encoded
from peclip_fast.data.loading.dali.pipeline import CODECS, ClipPipeline
from peclip_fast.data.loading.dataset import BadClip, ClipDataset
from peclip_fast.data.records import ClipRecord

Writer = Callable[..., Path]
Numbers = Callable[[np.ndarray], list[int]]


def jpeg(number: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture(number, 48, 48)).save(data, "jpeg")
    return data.getvalue()


def encoded(tmp_path: Path, count: int, frames: int = 16) -> list[EncodedClip]:
    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    records, config = [ClipRecord(tmp_path, 0)] * count, DataConfig(frames=frames)
    dataset = ClipDataset(records, config, 32, train=False)
    return [read_encoded(dataset, (0, index), ()) for index in range(count)]


def damaged(clip: EncodedClip, place: int, data: bytes) -> EncodedClip:
    files = list(clip.files)
    files[place] = replace(files[place], path=Path("that.jpg"), data=np.frombuffer(data, np.uint8))
    return replace(clip, files=tuple(files))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What DALI gets, a row each time: clips, and files of each."""
    seen = []
    run = ClipPipeline.run

    def noted(self: ClipPipeline, clips: list[EncodedClip]) -> torch.Tensor:
        seen.append((len(clips), len(clips[0].files)))
        return run(self, clips)

    monkeypatch.setattr(ClipPipeline, "run", noted)
    return seen


@devices
def test_batches_are_split_only_after_an_error(
    tmp_path: Path, device: str, runs: list[tuple[int, int]]
) -> None:
    decoder = DaliDecoder(None, 32, 4, torch.device(device), 8, threads=7)
    clips = encoded(tmp_path, 8, frames=4)
    whole = decoder.decode(clips)
    assert runs == [(4, 4), (4, 4)]
    clips[2] = damaged(clips[2], 3, b"no image")
    items = decoder.decode(clips)
    assert items[2].clip == 2
    assert items[2].reason.startswith("that.jpg: DALI can't decode it: ")
    assert "\n" not in items[2].reason
    for item, other in zip(items[:2] + items[3:], whole[:2] + whole[3:], strict=True):
        assert torch.equal(item["frames"], other["frames"])
    clip_by_clip = [(4, 4), (2, 4), (2, 4), (1, 4)]
    file_by_file = [(1, 1)] * 4
    assert runs[2:] == [*clip_by_clip, *file_by_file, (1, 4), (4, 4)]


@devices
def test_clips_of_many_images_are_decoded_in_parts(
    tmp_path: Path, device: str, runs: list[tuple[int, int]]
) -> None:
    """A damaged image among more than 28 has ended the process."""
    clips = encoded(tmp_path, 2, frames=40)
    decoder = DaliDecoder(None, 32, 40, torch.device(device), 2, threads=2)
    whole = decoder.decode(clips)
    assert runs == [(1, 16), (1, 16), (1, 8)] * 2
    dataset = ClipDataset([ClipRecord(tmp_path, 0)], DataConfig(frames=40), 32, train=False)
    assert_same(whole[1]["frames"].cpu(), dataset.load(0)["frames"], EXACT[device], STEPS)
    first, second = decoder.decode([damaged(clips[0], 33, b"no image"), clips[1]])
    assert first.reason.startswith("that.jpg: DALI can't decode it: ")
    assert torch.equal(second["frames"], whole[1]["frames"])
    assert max(clips * files for clips, files in runs) == 16


@devices
@pytest.mark.parametrize("threads", [1, 4])
def test_damaged_images_do_not_end_the_process(tmp_path: Path, device: str, threads: int) -> None:
    """DALI is known for it, where many images come at a time."""
    whole = jpeg(0)
    data = [bytes(9), b"no image", b"\xff\xd8\xff", whole[:100], whole[: len(whole) // 2]]
    clips = encoded(tmp_path, 16)
    decoder = DaliDecoder(None, 32, 16, torch.device(device), 16, threads)
    for place in range(0, 16, 5):
        for kind, broken in enumerate(data):
            bad = (place + 3 * kind) % 16
            some = [*clips[:bad], damaged(clips[bad], place, broken), *clips[bad + 1 :]]
            items = decoder.decode(some)
            assert [k for k, item in enumerate(items) if isinstance(item, BadClip)] == [bad]


@devices
def test_damaged_videos_do_not_end_the_process(tmp_path: Path, device: str) -> None:
    whole = write_pictures(tmp_path / "clip.webm", 20).read_bytes()
    noise = np.random.default_rng(0).bytes(len(whole) // 4)
    dataset = ClipDataset([ClipRecord(tmp_path / "clip.webm", 0)] * 16, DataConfig(), 32, False)
    clips = [read_encoded(dataset, (0, k), CODECS[device]) for k in range(16)]
    decoder = DaliDecoder(None, 32, 16, torch.device(device), 16, threads=4)
    third = len(whole) // 3
    for kind, broken in enumerate(
        [bytes(9), b"no video", whole[:100], whole[:third], whole[:third] + noise]
    ):
        bad = 3 * kind
        some = [*clips[:bad], damaged(clips[bad], 0, broken), *clips[bad + 1 :]]
        items = decoder.decode(some)
        assert [k for k, item in enumerate(items) if isinstance(item, BadClip)] == [bad]


@pytest.mark.parametrize("videos", [True, False])
def test_steps_are_on_devices_that_fit_together(videos: bool) -> None:
    """As far as it can be seen without a GPU: DALI checks that while a pipeline is described."""
    augment = AugmentConfig(contrast=0.5, saturation=0.5, rotation=9)
    ClipPipeline(videos, augment, 32, torch.device("cuda", 0), 8, 1)


@devices
def test_frames_that_dali_does_not_see_are_no_black_ones(tmp_path: Path, device: str) -> None:
    path = write_pictures(tmp_path / "clip.webm", 20)
    dataset = ClipDataset([ClipRecord(path, 0)], DataConfig(), 32, train=False)
    clip = read_encoded(dataset, (0, 0), CODECS[device])
    files = (replace(clip.files[0], frames=(0, 20)),)
    decoder = DaliDecoder(None, 32, 16, torch.device(device), 1, 1)
    (item,) = decoder.decode([replace(clip, files=files)])
    assert item.reason.startswith(f"{path}: DALI can't decode it: Unexpected out-of-bounds frame")


def test_a_forked_process_does_not_end_the_pipelines(tmp_path: Path) -> None:
    """It lacks their threads, for which DALI would abort it."""
    decoder = DaliDecoder(None, 32, 16, torch.device("cpu"), 1, 1)
    decoder.decode(encoded(tmp_path, 1))

    def forget() -> None:
        decoder._pipelines.clear()
        gc.collect()

    process = multiprocessing.get_context("fork").Process(target=forget)
    process.start()
    process.join()
    assert process.exitcode == 0
