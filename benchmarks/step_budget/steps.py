"""The steps that are counted: one of training and a batch of inference, of PE-CLIP on ViT-B/16."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.step_budget.counting import Counting, kernels_counted
from benchmarks.step_budget.counts import Counts
from benchmarks.step_budget.stand_in import NAME
from peclip_fast import create_model
from peclip_fast.config.data import DataConfig, MixConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.config.train import TrainConfig
from peclip_fast.engine import evaluation
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.optimizer import make_optimizer
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.ops import backends

BACKBONE = "ViT-B-16-quickgelu"
CLASSES = tuple(PUBLISHED_ACTION_UNITS)
FRAMES = 16
DTYPE = torch.bfloat16
GPU = torch.device(NAME, 0)


def trained(clips: int, backend: str, backbone: str = BACKBONE, frames: int = FRAMES) -> Counts:
    """A step of training that isn't the first: batch preparation with FMix, both passes, and the
    optimizer's step."""
    with _model(backend, backbone) as model:
        config = _config(model)
        model.train()
        objective = Objective(model, config, 0)
        optimizer = make_optimizer(model, config)
        counting = _counting(model, clips, frames)
        batch = {name: t.to(GPU) for name, t in _batch(model, clips, frames).items()}
        with counting, kernels_counted(counting):
            for step in range(2):
                counting.counts = Counts()  # the first step makes the optimizer's state
                with torch.autocast(NAME, DTYPE):
                    summed = objective(batch, step)
                (summed / clips).backward()
                optimizer.step()
                optimizer.zero_grad()
        return counting.counts


def inferred(clips: int, backend: str, backbone: str = BACKBONE, frames: int = FRAMES) -> Counts:
    """A batch of inference that isn't the first: as ``evaluate`` runs it."""
    with _model(backend, backbone) as model:
        model.eval()
        counting = _counting(model, clips, frames)
        starts: list[Counts] = []

        def batches() -> Iterator[dict[str, object]]:
            for _ in range(3):
                batch = _batch(model, clips, frames)
                for t in batch.values():
                    counting.pin(t)
                starts.append(counting.counts)
                counting.counts = Counts()
                yield {**batch, "bad": []}

        with counting, kernels_counted(counting):
            evaluation._run(model, batches(), _config(model), GPU, 3)
        return starts[2]  # what was counted from the second batch on, when the third one came


class _Holding(FakeTensorMode):
    """Tensors that hold nothing, on the stand-in too."""

    avoid_device_init = True  # there is nothing behind it, though PyTorch is told so


@contextlib.contextmanager
def _model(backend: str, backbone: str) -> Iterator[AdaptedCLIP]:
    """On the stand-in, with the backends that a user's GPU would run."""

    def search(op: str, wanted: str, device: torch.device, *call: object) -> str:
        return "reference" if wanted == "auto" else wanted

    with torch.device("meta"):
        model = create_model(backbone=backbone, classes=CLASSES, backend=backend)
    with _Holding(), mock.patch.object(backends, "search", search):
        for module in model.modules():  # not model.to(), which takes no fake tensors
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = nn.Parameter(_on_gpu(p), p.requires_grad)
            for name, b in module._buffers.items():
                module._buffers[name] = None if b is None else _on_gpu(b)
        with mock.patch.object(model, "to", return_value=model):
            yield model


def _on_gpu(t: Tensor) -> Tensor:
    return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=GPU)


def _config(model: AdaptedCLIP) -> RunConfig:
    mix = MixConfig(mixup=0.0, fmix=1.0)
    return RunConfig(
        model=model.config,
        data=DataConfig("folder", "nowhere", mix=mix),
        train=TrainConfig(precision="bf16"),
    )


def _batch(model: AdaptedCLIP, clips: int, frames: int) -> dict[str, Tensor]:
    size = model.image_size
    images = torch.empty(clips, frames, 3, size, size, dtype=torch.uint8)
    numbers = torch.zeros(clips, dtype=torch.int64)
    return {"frames": images, "label": numbers, "index": numbers}


def _counting(model: AdaptedCLIP, clips: int, frames: int) -> Counting:
    return Counting(clips * frames * model.vision.patches * model.vision_width)
