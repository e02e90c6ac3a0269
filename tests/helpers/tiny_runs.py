"""A tiny dataset and configuration on which whole runs take seconds."""

from __future__ import annotations

import contextlib
import itertools
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import yaml
from PIL import Image

from peclip_fast.engine.objective import Objective

CLASSES = ("happiness", "sadness", "anger")
COLOURS = ((220, 60, 60), (60, 220, 60), (60, 60, 220))
SIZE = 32


def write_clips(root: Path, train: int = 5, test: int = 3, frames: int = 4) -> Path:
    """Class folders of frame folders; each class has its own colour under noise."""
    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("test", test)):
        for name, colour in zip(CLASSES, COLOURS, strict=True):
            for clip in range(number):
                folder = root / split / name / f"{clip:03d}"
                folder.mkdir(parents=True)
                for frame in range(frames):
                    noise = rng.integers(-40, 40, (SIZE, SIZE, 3))
                    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{frame:03d}.png")
    return root


def write_config(path: Path, backbone: str, root: Path, **train: object) -> Path:
    """A configuration of 2 epochs of 5 steps on one thread, without worker processes."""
    options = {
        "model": {"backbone": backbone, "prompt_depth": 2, "reduction": 16},
        "data": {"dataset": "folder", "root": str(root), "frames": 2, "num_workers": 0},
        "train": {
            "epochs": 2,
            "warmup_epochs": 1,
            "batch_size": 3,
            "lr": {"adapters": 2e-3},
            "checkpoint_every": 2,
            "threads": 1,
            "device": "cpu",
            **train,
        },
    }
    path.write_text(yaml.safe_dump(options))
    return path


@contextlib.contextmanager
def no_pictures() -> Iterator[None]:
    """Runs in the block leave their pictures empty, as drawing takes a third of a tiny one."""
    with (
        mock.patch("peclip_fast.engine.run.curves_png", return_value=b""),
        mock.patch("peclip_fast.engine.report.confusion_png", return_value=b""),
    ):
        yield


@contextlib.contextmanager
def killed_in_step(number: int) -> Iterator[None]:
    """What trains in the block gets no further than into the forward pass of its Nth step."""
    forward, steps = Objective.forward, itertools.count(1)

    class Kill(BaseException):
        """Nobody catches it."""

    def called(self: Objective, *arguments: Any) -> Any:
        if next(steps) == number:
            raise Kill
        return forward(self, *arguments)

    with mock.patch.object(Objective, "forward", called), pytest.raises(Kill):
        yield


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes beyond ``size`` bytes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
