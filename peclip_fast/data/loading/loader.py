"""Batches of decoded clips: by PyAV in worker processes here, or by DALI."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.deaths import (
    DEATHS,
    hear_no_deaths,
    hearing_deaths,
    outliving_workers,
    replace_workers,
)
from peclip_fast.data.loading.decoders import choose_decoder
from peclip_fast.data.loading.sampler import ClipBatchSampler
from peclip_fast.data.processes import leave_inherited
from peclip_fast.errors import InputError

if TYPE_CHECKING:
    from peclip_fast.data.loading.dali.loader import DaliLoader

_MOST_WORKERS = 8
_CPU = torch.device("cpu")


class ClipLoader(DataLoader[Any]):
    """A DataLoader that reports bad clips by name.

    With ``on_bad_clip="error"`` the first bad clip raises; with ``"skip"`` it is left out of its
    batch and listed in the batch's ``bad``. Workers hand errors over as data, because an exception
    out of a worker would come with the worker's traceback in its message.
    """

    dataset: ClipDataset
    batch_sampler: ClipBatchSampler

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        for batch in self._batches() if self.num_workers else super().__iter__():
            if batch["bad"] and self.dataset.config.on_bad_clip == "error":
                self.close()
                raise InputError(batch["bad"][0].reason)
            yield batch

    def _batches(self) -> Iterator[dict[str, Any]]:
        """Those of workers, of which one may be killed without harm, as batches can be had again.

        Raises:
            InputError: it happens again and again.
        """
        hear_no_deaths()
        sampler = self.batch_sampler
        epoch, start = sampler.epoch, sampler.start_batch
        batches: Iterator[dict[str, Any]] | None = None
        for number in range(start, start + len(sampler)):
            batch, deaths = None, 0
            while batch is None:
                try:
                    if batches is None:
                        sampler.set_epoch(epoch, number)
                        batches = super().__iter__()
                        sampler.set_epoch(epoch, start)
                    with hearing_deaths():
                        batch = next(batches)
                except DEATHS as error:
                    deaths += 1
                    dead, batches, self._iterator = self._iterator, None, None
                    replace_workers(error, dead, deaths)
            yield batch

    def close(self) -> None:
        """Ends the workers; a further pass starts new ones.

        Workers that are left to the garbage collector may be waited for in vain for seconds.
        """
        iterator, self._iterator = self._iterator, None
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Chooses the epoch and first batch of the next pass."""
        self.batch_sampler.set_epoch(epoch, start_batch)


def make_loader(
    dataset: ClipDataset,
    batch_size: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device = _CPU,
) -> ClipLoader | DaliLoader:
    """The loader of one process.

    Args:
        dataset: training sets are shuffled, others keep their order.
        batch_size: clips per batch, over all processes.
        rank: of this process.
        world_size: number of processes; each clip goes to one of them.
        device: of the model. DALI's frames come on it; others come on the CPU, in page-locked
            memory if this is a GPU.

    Raises:
        InputError: the dataset is empty, or has fewer training clips than there are processes; or
            the decoder that the configuration names can't be used.
    """
    needed = world_size if dataset.train else 1
    if len(dataset) < needed:
        split = "training" if dataset.train else "test"
        raise InputError(f"{len(dataset)} {split} clips: expected at least {needed}")
    workers = dataset.config.num_workers
    if workers is None:
        workers = default_workers(world_size)
    sampler = ClipBatchSampler(
        len(dataset), batch_size, dataset.train, dataset.seed, rank, world_size
    )
    if choose_decoder(dataset.config.decoder, device, dataset.frames_alone) == "dali":
        from peclip_fast.data.loading.dali.loader import DaliLoader

        return DaliLoader(dataset, sampler, device, max(1, workers))
    return ClipLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=dataset.collate,
        num_workers=workers,
        multiprocessing_context=outliving_workers() if workers else None,
        persistent_workers=workers > 0,
        prefetch_factor=dataset.config.prefetch if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker,
    )


def _start_worker(_: int) -> None:
    leave_inherited()
    sys.excepthook = _unless_hung_up


def _unless_hung_up(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say nothing of a main process that was stopped while it fetched a batch from this worker.

    Handing over is a thread's work, whose errors multiprocessing shows by this hook.
    """
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def default_workers(world_size: int = 1) -> int:
    """One worker per core that this process may use, shared by the processes, at most 8."""
    return min(_MOST_WORKERS, max(1, len(os.sched_getaffinity(0)) // world_size))
