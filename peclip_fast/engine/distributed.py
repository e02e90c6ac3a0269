"""Processes that torchrun started, or just the one."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.constants import default_pg_timeout

from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError, one_line
from peclip_fast.stopping import REASONS, Stopped, release

MEETING = timedelta(minutes=5)  # in which all processes must have come
# Seconds in which a host's kernel must answer, and the variable that says others.
PEER_SECONDS, OTHER_SECONDS = 60, "PECLIP_FAST_PEER_SECONDS"
_OF_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")


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
        """Clips that this process gets of a whole batch; where it can't be halved, some get more.

        Raises:
            InputError: there are processes that would get none.
        """
        if batch_size < self.size:
            raise InputError(
                f"train.batch_size={batch_size}: expected at least one clip for each of the "
                f"{self.size} processes"
            )
        return len(range(self.rank, batch_size, self.size))


def set_up(train: TrainConfig, world: World) -> torch.device:
    """The device of this process, after setting its CPU threads.

    Raises:
        InputError: there is no such device, or it can't compute in the wanted precision.
    """
    if train.threads:
        torch.set_num_threads(train.threads)
    if train.device == "cuda" and not torch.cuda.is_available():
        raise InputError("train.device=cuda: no CUDA device here; expected auto or cpu")
    if train.cuda_graphs is True and world.size > 1:
        raise InputError(f"train.cuda_graphs: expected one process, not {world.size}")
    if train.device != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", world.local_rank)
    if train.cuda_graphs is True:
        raise InputError("train.cuda_graphs: needs a GPU; expected false on the CPU")
    if train.precision == "fp16":
        raise InputError("train.precision=fp16: needs a GPU; expected bf16 or fp32 on the CPU")
    return torch.device("cpu")


@contextlib.contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes for the time of the block; nothing to do for one."""
    if world.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Gloo for what is on the CPU, as numbers of clips: no GPU is waited for.
    with naming_lost_peers():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store = meet(world)
        dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size)
        _notice_lost_hosts(_peer_seconds())
        yield
        dist.destroy_process_group()  # after an error it could wait for the others


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what torchrun set, for programs that are none of its processes."""
    return {k: v for k, v in environment.items() if not k.startswith(_OF_LAUNCHER)}


def _peer_seconds() -> int:
    given = os.environ.get(OTHER_SECONDS, str(PEER_SECONDS))
    if not (given.isascii() and given.isdigit() and 2 <= int(given) <= 3600):
        raise InputError(f"{OTHER_SECONDS}={given}: expected seconds, 2 to 3600")
    return int(given)


def _notice_lost_hosts(seconds: int) -> None:
    """Have the kernel end this process's connections to hosts whose kernel doesn't answer.

    A host that has lost its power or its network says nothing, and gloo would wait for it for half
    an hour. One that is only busy answers. Linux has the options; elsewhere gloo waits.
    """
    descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for number in map(int, descriptors):
        with contextlib.suppress(OSError):  # closed by now, as that of the folder itself
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6):
                    pause = max(1, seconds // 4)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, pause)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, pause)
                    connection.setsockopt(
                        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds
                    )


def meet(world: World) -> dist.Store:
    """Wait until all processes are there, not for the half hour that they may wait for each other
    later: one that has ended before they met is missed by nobody else.

    Raises:
        ConnectionError: they weren't in time.
    """
    try:
        store, *_ = next(dist.rendezvous("env://", world.rank, world.size, timeout=MEETING))
        store.set(f"come/{world.rank}", "")
        store.wait([f"come/{rank}" for rank in range(world.size)], MEETING)
        store.set_timeout(default_pg_timeout)
    except dist.DistError as error:
        minutes = MEETING.total_seconds() / 60
        raise ConnectionError(
            f"the {world.size} processes of this run haven't met within {minutes:g} minutes "
            f"({one_line(error).partition('. ')[0]})"
        ) from error
    return store


@contextlib.contextmanager
def naming_lost_peers(advice: str = "") -> Iterator[None]:
    """Turn what is said of a process of the group that has ended into a ConnectionError.

    Args:
        advice: how to go on.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        # Without the place in gloo's source, and without its advice.
        reason = one_line(str(error).partition("] ")[2] or error).partition(". ")[0]
        told = f"another process of this run has ended ({reason})"
        raise ConnectionError(f"{told}; {advice}" if advice else told) from error


def gather(value: Any) -> list[Any]:
    """Every process's value, in the order of the ranks, on every process."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def agreed(loader: Any) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Batches of a loader, each with the number of clips that all processes have in theirs.

    Once one process is asked to stop, all of them do so, as each would wait for the others. Within
    ``hold()`` a signal is heard while a batch is waited for.

    Args:
        loader: gives each process as many batches.

    Raises:
        Stopped: at a batch that no process has got.
    """
    batches = iter(loader)
    for _ in range(len(loader)):
        batch: Mapping[str, Any] = {"label": ()}
        number = 0
        try:
            with release():
                batch = next(batches)
        except Stopped as stopped:
            number = stopped.number
        counts = torch.tensor([len(batch["label"]), *(number == reason for reason in REASONS)])
        if dist.is_initialized():
            dist.all_reduce(counts)
        clips, *asked = counts.tolist()
        for reason, processes in zip(REASONS, asked, strict=True):
            if processes:
                raise Stopped(reason)
        yield batch, clips
