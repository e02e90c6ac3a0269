"""The simulation: steps of training on many GPUs, and an archive on many workers.

Nothing in it knows of a machine: what a step, a gradient or a video takes is given.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SEED, STEPS = 0, 400  # of a simulated training


@dataclass(frozen=True)
class Line:
    """Between members of a collective.

    Args:
        bandwidth: of each member, bytes a second, one way.
        latency: seconds of each of a collective's steps.
    """

    bandwidth: float
    latency: float

    def all_reduce(self, members: int, size: float) -> float:
        """Seconds of a ring: everybody sends and receives (members - 1) / members twice."""
        if members == 1:
            return 0.0
        sent = 2 * (members - 1) / members * size
        # Small messages go along a tree.
        steps = min(2 * (members - 1), 4 * math.ceil(math.log2(members)))
        return sent / self.bandwidth + steps * self.latency


@dataclass(frozen=True)
class Step:
    """Of training, on one device.

    Args:
        forward: seconds until the backward pass begins, batch preparation and all.
        backward: seconds.
        rest: seconds after the gradients are there.
        deviation: standard deviation of the whole as a share of it.
        buckets: bytes of each part of the gradients, in the order in which they come.
        load: seconds for a batch that the device is kept waiting for where nothing is loaded ahead;
            otherwise the time in which the host's cores have one ready.
        ahead: whether batches are loaded while the device works.
    """

    forward: float
    backward: float
    rest: float
    deviation: float
    buckets: Sequence[float]
    load: float
    ahead: bool


def train(step: Step, groups: Sequence[tuple[int, Line]]) -> tuple[float, str]:
    """Seconds of a step, the mean, and what it is bound by.

    Args:
        step: of each device.
        groups: the collective's levels from the inside: members and line. Each level reduces the
            part of a bucket that the level within has left to a member.
    """
    devices = math.prod(members for members, _ in groups)
    rng = np.random.default_rng(SEED)
    own = step.load if not step.ahead else 0.0
    alone = own + step.forward + step.backward + step.rest
    times = []
    for _ in range(STEPS):
        # The slowest decides when each bucket begins to cross.
        slowest = max(0.1, 1 + step.deviation * rng.standard_normal(devices).max())
        ready = slowest * (own + step.forward)
        crossed = 0.0
        for number, size in enumerate(step.buckets, 1):
            there = ready + slowest * step.backward * number / len(step.buckets)
            crossed = max(crossed, there) + reduce_time(size, groups)
        times.append(crossed + slowest * step.rest)
    seconds = float(np.mean(times))
    if step.ahead and step.load > seconds:
        return step.load, "loading"
    waits = float(alone * (1 + step.deviation * _largest(devices)))
    return seconds, "network" if seconds > 1.1 * waits else "GPU"


def reduce_time(size: float, groups: Sequence[tuple[int, Line]]) -> float:
    """Seconds until a bucket is the same everywhere."""
    total = 0.0
    for members, line in groups:
        total += line.all_reduce(members, size)
        size /= members
    return total


def _largest(number: int) -> float:
    """The mean of the largest of so many standard normal numbers."""
    rng = np.random.default_rng(SEED)
    return float(rng.standard_normal((STEPS, number)).max(1).mean())


@dataclass(frozen=True)
class Video:
    """What a video of an archive needs.

    Args:
        size: bytes to read.
        cores: seconds of one core: decoding, faces, windows.
        model: seconds of one device.
    """

    size: float
    cores: float
    model: float


def analyze(
    video: Video, videos: int, workers: int, devices: int, storage: float, start: float
) -> float:
    """Seconds until workers, each on one core, have done all videos.

    Each takes the next video when it has done one. Reads share the storage; windows wait for the
    device that is free first. A worker goes on while its windows wait.

    Args:
        devices: for the model; 0 where each worker's own core does it.
        storage: bytes a second, for all.
        start: seconds until a worker begins.
    """
    cores = video.cores + (0.0 if devices else video.model)
    free = [start] * workers
    model = [start] * max(devices, 1)
    storage_free = start
    end = start
    for _ in range(videos):
        begin = heapq.heappop(free)
        storage_free = max(storage_free, begin) + video.size / storage
        # What is read comes while it is decoded.
        done = max(begin + cores, storage_free)
        heapq.heappush(free, done)
        if devices:
            done = max(done, heapq.heappop(model)) + video.model
            heapq.heappush(model, done)
        end = max(end, done)
    return end
