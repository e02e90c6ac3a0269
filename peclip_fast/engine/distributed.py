"""Processes that torchrun started, or just the one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from peclip_fast.errors import InputError


@dataclass(frozen=True)
class World:
    """Where this process stands among those that torchrun started."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @classmethod
    def from_environment(cls) -> World:
        """What torchrun set, or a world of one."""
        names = ("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)
        return cls(*(int(os.environ.get(name, default)) for name, default in names))

    @property
    def first(self) -> bool:
        """Whether this process prints and writes for all."""
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """This process's part of a batch over all processes."""
        if batch_size % self.size:
            raise InputError(
                f"train.batch_size={batch_size}: expected a multiple of the {self.size} processes"
            )
        return batch_size // self.size


def choose_device(wanted: str, world: World) -> torch.device:
    """The device of "auto", "cpu" or "cuda" for this process."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("train.device=cuda: no CUDA device here; expected auto or cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", world.local_rank)


@contextlib.contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes for the time of the block; nothing to do for one."""
    if world.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(value: Any) -> list[Any]:
    """Every process's value, in the order of the ranks, on every process."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
