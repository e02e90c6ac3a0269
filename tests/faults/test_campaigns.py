"""A small part of each campaign, the same in every run; docs/reliability.md says how to do more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from faults.campaign import Campaign, Tally
from faults.clips import DamagedFrames, DamagedVideos
from faults.disturbed import CAMPAIGNS, Scene
from faults.stored import stored_files
from faults.texts import readers

from peclip_fast.engine.run_folder import RunFolder

INPUTS = 100  # of each reader of texts
# Of a run each, which takes seconds.
RUNS = {"writes": 3, "kills": 1, "signals": 1, "workers": 1, "disks": 1, "ranks": 1}

pytestmark = pytest.mark.slow


def tried(campaign: Campaign, numbers: Iterable[int]) -> Tally:
    """Nothing was found."""
    tally = Tally(campaign.name)
    campaign.run(numbers, tally)
    found = [f"{f.campaign}, number {f.number}: {f.kind}\n{f.said}" for f in tally.findings]
    assert not found, "\n".join(found[:5])
    return tally


def test_texts(tmp_path: Path) -> None:
    for reader in readers(tmp_path):
        tally = tried(reader, range(INPUTS))
        assert tally.inputs == INPUTS
        # A reader that refuses everything, or nothing, would show nothing here.
        assert tally.refused > INPUTS / 10
        assert tally.accepted > INPUTS / 20


def test_videos(tmp_path: Path) -> None:
    campaign = DamagedVideos(tmp_path)
    assert len({codec for codec, _ in campaign.kinds}) >= 8
    assert len({container for _, container in campaign.kinds}) >= 6
    tally = tried(campaign, range(2 * len(campaign.kinds)))
    assert tally.refused
    assert tally.accepted


def test_frames(tmp_path: Path) -> None:
    tally = tried(DamagedFrames(tmp_path), range(30))
    assert tally.refused
    assert tally.accepted


def test_stored_files(tmp_path: Path, trained_run: Path, tiny_backbone: str) -> None:
    for campaign in stored_files(tmp_path, RunFolder(trained_run), Path(tiny_backbone)):
        tried(campaign, range(24))


def test_trainings(tiny_backbone: str, tiny_clips: Path, tmp_path: Path) -> None:
    """In one test, as they share the runs that nothing happens to."""
    scene = Scene(tmp_path, Path(tiny_backbone), tiny_clips)
    for kind in CAMPAIGNS:
        tried(kind(scene), range(RUNS[kind.name]))
