"""Fixtures for all rooms."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

# pytest-xdist has a process for each core: with more threads they would wait for one another.
# OpenMP reads this when PyTorch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing in the tests may reach for a hub. Its client reads this when it is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from helpers.clips.grey_frames import frames_at, numbers, video_at
from helpers.models.tiny_backbone import TINY
from helpers.skip_reasons import pytest_make_collect_report, pytest_runtest_makereport
from hypothesis import settings

# Without a GPU the Triton kernels run in Triton's interpreter. Triton reads this when it is
# imported, and open_clip imports it.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

import open_clip
from helpers.tiny_runs import write_clips, write_config

from peclip_fast.commands.train import main as train
from peclip_fast.data.decoding import clip_index
from peclip_fast.models.backbone import save_backbone

SCHEDULER = os.sched_getscheduler(0)

# The same examples in every run; `pytest --hypothesis-profile search` looks for others.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("repeatable")

__all__ = [
    "frames_at",
    "numbers",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "video_at",
]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """With -n, neighbours stay together, as they share what takes long to make."""
    if config.getoption("numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> Iterator[None]:
    """Not ignored, as they are below nohup and in a shell's background jobs, and so in children."""
    former = {}
    usual = {signal.SIGINT: signal.default_int_handler}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            former[number] = signal.signal(number, usual.get(number, signal.SIG_DFL))
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def nobody_goes_before_others() -> Iterator[None]:
    """A process of real time starves the machine, and its children inherit that (helpers.apart)."""
    yield
    found = os.sched_getscheduler(0)
    os.sched_setscheduler(0, SCHEDULER, os.sched_param(0))
    assert found == SCHEDULER


@pytest.fixture(scope="session", autouse=True)
def index_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is found out about the tests' clips isn't kept among what the user has."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_index, "cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real videos, real lists and the published program's numbers."""
    return Path(__file__).parent / "assets"


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CLIP of three blocks with random weights, as a folder."""
    folder = tmp_path_factory.mktemp("backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        save_backbone(open_clip.CLIP(**TINY), TINY, folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of frame folders: three colours, 15 training and 9 test clips."""
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def trained_run(
    tiny_backbone: str, tiny_clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run of PE-CLIP on tiny_clips, which nobody changes."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips)
    assert train(["--config", str(config), "--output", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def tiny_run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of trained_run for the tests of one file."""
    return Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("copied") / "run"))
