"""Precision, device and processes of a training, by Lightning Fabric."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from peclip_fast.config.train import TrainConfig
from peclip_fast.engine.distributed import World

BUCKETS, LARGEST_BUCKET = 8, 25  # of gradients; and MB of one
PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(options: TrainConfig, device: torch.device, world: World, trained: int) -> Fabric:
    """Precision, device and processes; the processes are connected already.

    Args:
        trained: bytes of the trained tensors, whose gradients cross over in BUCKETS parts or more,
            each as soon as the backward pass has it.
    """
    # PyTorch's DDP of a static graph forgets to reduce after a first pass that isn't to be reduced.
    every = options.accumulate == 1 and not options.compile
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    single = world.size == 1
    bucket = min(LARGEST_BUCKET, trained / BUCKETS / 2**20)
    strategy: Strategy = SingleDeviceStrategy(device) if single else DDPStrategy(
        bucket_cap_mb=bucket, gradient_as_bucket_view=True, static_graph=every
    )  # fmt: skip
    fabric = Fabric(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=world.local_size,
        num_nodes=world.size // world.local_size,
        strategy=strategy,
        precision=PRECISIONS[options.precision],
        plugins=[LightningEnvironment() if single else TorchElasticEnvironment()],
    )
    fabric.launch()
    return fabric
