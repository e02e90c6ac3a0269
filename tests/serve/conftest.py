"""What the tests of the server share: one service for all, reached without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video
from starlette.testclient import TestClient

from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.config.parser import resolve
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.faces.crop import CropProfile
from peclip_fast.serve.limits import Limits
from peclip_fast.serve.service import Service
from peclip_fast.serve.web.application import application
from peclip_fast.serve.web.guard import Access

LIMITS = Limits(megabytes=2, seconds=8, frames=200, pixels=1280 * 720, waiting=3, patience=2)


@pytest.fixture(scope="session")
def face_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of one face."""
    path = tmp_path_factory.mktemp("videos") / "one.mp4"
    return write_faces_video(path, steady(2.0), one_face)


@pytest.fixture(scope="session")
def served_analyzer(trained_run: Path) -> Analyzer:
    """Windows of 1 s, half a second apart."""
    return Analyzer(trained_run, "cpu", crop=CropProfile(1.5, 0, -0.1), window=1.0, stride=0.5)


@pytest.fixture(scope="session")
def service(
    trained_run: Path, served_analyzer: Analyzer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server's parts, with small limits."""
    config = resolve(RunFolder(trained_run).layers())
    folder = tmp_path_factory.mktemp("served")
    found = Service(served_analyzer, config.title, folder, LIMITS)
    yield found
    found.close()


@pytest.fixture
def limited(service: Service, monkeypatch: pytest.MonkeyPatch):
    """Sets other limits for a test; those of videos stay as they are."""

    def change(**limits: float) -> None:
        monkeypatch.setattr(service, "limits", replace(service.limits, **limits))

    return change


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[TestClient]:
    """A client on the same machine."""
    with TestClient(application(service, Access(None, local=True)), "http://localhost") as found:
        yield found
