"""Which clips go into which batch of which process."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from peclip_fast.data.loading.dataset import ClipKey
from peclip_fast.data.randomness import derived_generator


class ClipBatchSampler(Sampler[list[ClipKey]]):
    """Batches of clips for one process; every clip comes once per epoch over all processes.

    The order of an epoch is cut into batches, and the clips of each batch are dealt out in turn. So
    what a batch holds, and how many there are, doesn't depend on the number of processes: an epoch
    that some have begun is ended by any others. All processes have as many batches; of the last
    one, which takes what is left, a process may get nothing.

    Training shuffles by (seed, epoch); evaluation keeps the order.

    Args:
        num_clips: clips in the dataset.
        batch_size: clips per batch, over all processes.
        shuffle: training order, otherwise evaluation order.
        seed: of the shuffling.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        num_clips: int,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.num_clips = num_clips
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Chooses the epoch of the next pass, and the batch at which it starts.

        Args:
            epoch: number of the epoch, from 0.
            start_batch: batches of this epoch that were already used (mid-epoch resume).
        """
        self.epoch = epoch
        self.start_batch = start_batch

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch, in each process."""
        return -(-self.num_clips // self.batch_size)

    @property
    def most_clips(self) -> int:
        """Clips of a batch of this process, at most."""
        return len(range(self.rank, self.batch_size, self.world_size))

    def __len__(self) -> int:
        """Batches of the next pass."""
        return max(0, self.batches_per_epoch - self.start_batch)

    def __iter__(self) -> Iterator[list[ClipKey]]:
        epoch, size = self.epoch, self.batch_size
        order = list(range(self.num_clips))
        if self.shuffle:
            generator = derived_generator(self.seed, epoch)
            order = torch.randperm(self.num_clips, generator=generator).tolist()
        for batch in range(self.start_batch, self.batches_per_epoch):
            chosen = order[batch * size : (batch + 1) * size][self.rank :: self.world_size]
            yield [(epoch, index) for index in chosen]
