"""Which clips go into which batch of which process."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from peclip_fast.data.loading.dataset import ClipKey
from peclip_fast.data.randomness import derived_generator


class ClipBatchSampler(Sampler[list[ClipKey]]):
    """Batches of clips for one process; every clip comes once per epoch over all processes.

    Training shuffles by (seed, epoch). Each step takes the next ``batch_size * world_size`` clips
    and deals them out in turn, so all ranks have the same number of batches, and one process with
    twice the batch sees the clips that two processes see. The last step takes what is left; if
    that would leave a rank with nothing, it joins the step before.

    Evaluation keeps the order and deals the clips out in turn without repeating any, so ranks may
    differ by one clip and by one batch.

    Args:
        num_clips: clips in the dataset.
        batch_size: clips per batch and process.
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
        """Batches of this process in a whole epoch."""
        if not self.shuffle:
            return -(-len(range(self.rank, self.num_clips, self.world_size)) // self.batch_size)
        step = self.batch_size * self.world_size
        full, left = divmod(self.num_clips, step)
        return full + (left >= self.world_size or full == 0)

    @property
    def most_clips(self) -> int:
        """Clips of a batch, at most: the last one of training may have taken in one more."""
        return self.batch_size + 1

    def __len__(self) -> int:
        """Batches of the next pass."""
        return max(0, self.batches_per_epoch - self.start_batch)

    def __iter__(self) -> Iterator[list[ClipKey]]:
        epoch, total = self.epoch, self.batches_per_epoch
        order = list(range(self.num_clips))
        if self.shuffle:
            generator = derived_generator(self.seed, epoch)
            order = torch.randperm(self.num_clips, generator=generator).tolist()
        step = self.batch_size * self.world_size
        for batch in range(self.start_batch, total):
            end = self.num_clips if self.shuffle and batch == total - 1 else (batch + 1) * step
            chosen = order[batch * step : end][self.rank :: self.world_size]
            yield [(epoch, index) for index in chosen]
