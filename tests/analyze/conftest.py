"""What the tests of analysis share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video

from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.faces.crop import CropProfile


@pytest.fixture(scope="module")
def analyzer(trained_run: Path) -> Analyzer:
    """Windows of 1 s, half a second apart."""
    return Analyzer(trained_run, "cpu", crop=CropProfile(1.5, 0, -0.1), window=1.0, stride=0.5)


@pytest.fixture(scope="session")
def face_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of one face."""
    path = tmp_path_factory.mktemp("videos") / "one.mp4"
    return write_faces_video(path, steady(3.0), one_face)
