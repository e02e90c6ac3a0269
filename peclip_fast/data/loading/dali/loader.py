"""Batches of clips decoded by DALI, on the device where the model is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from peclip_fast.data.loading.dali.decoder import DaliDecoder
from peclip_fast.data.loading.dali.encoded_clip import EncodedClip, OtherDecoderError, read_encoded
from peclip_fast.data.loading.dali.pipeline import CODECS
from peclip_fast.data.loading.dataset import BadClip, ClipDataset, ClipKey
from peclip_fast.data.loading.sampler import ClipBatchSampler
from peclip_fast.errors import InputError

Encoded = EncodedClip | BadClip | dict[str, Any]


class DaliLoader:
    """What ``ClipLoader`` is, but its batches are decoded by DALI and ``frames`` is on ``device``.

    Threads read the files of the next batches; another one has DALI decode them, batch by batch.
    All this is ahead of the caller by as many batches as the configuration's ``prefetch``.

    Args:
        dataset: says what is drawn and how bad clips are taken.
        batch_sampler: says which clips form a batch.
        device: where the frames are decoded and given.
        threads: that read, and that DALI has on the CPU, at least 1.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_sampler: ClipBatchSampler,
        device: torch.device,
        threads: int,
    ) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self._device = device
        self._threads = threads
        self._work: _Work | None = None

    def __len__(self) -> int:
        """Batches of the next pass."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batches of ``ClipDataset.collate``.

        Raises:
            InputError: a clip can't be read and none may be skipped; or DALI doesn't take a
                video that PyAV takes. Names the file.
        """
        if self._work is None:
            self._work = _Work(self.dataset, self.batch_sampler, self._device, self._threads)
        ahead: deque[Future[dict[str, Any]]] = deque()
        try:
            for keys in self.batch_sampler:
                ahead.append(self._work.submit(keys))
                if len(ahead) > self.dataset.config.prefetch:
                    yield self._take(ahead.popleft())
            while ahead:
                yield self._take(ahead.popleft())
        finally:
            for future in ahead:
                future.cancel()

    def close(self) -> None:
        """Ends the threads and DALI's pipelines; a further pass starts new ones."""
        work, self._work = self._work, None
        if work is not None:
            work.close()

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Chooses the epoch and first batch of the next pass."""
        self.batch_sampler.set_epoch(epoch, start_batch)

    def _take(self, future: Future[dict[str, Any]]) -> dict[str, Any]:
        try:
            batch = future.result()
            if batch["bad"] and self.dataset.config.on_bad_clip == "error":
                raise InputError(batch["bad"][0].reason)
        except InputError:
            self.close()
            raise
        if batch["frames"].is_cuda:
            # They were made on another stream: their memory must outlast what this one does.
            batch["frames"].record_stream(torch.cuda.current_stream(self._device))
        return batch


class _Work:
    """The threads of a loader, and DALI."""

    def __init__(
        self,
        dataset: ClipDataset,
        batch_sampler: ClipBatchSampler,
        device: torch.device,
        threads: int,
    ) -> None:
        self._dataset = dataset
        self._device = device
        self._codecs = CODECS[device.type]
        self._decoder = DaliDecoder(
            dataset.config.augment if dataset.train else None,
            dataset.image_size,
            dataset.config.frames,
            device,
            batch_sampler.most_clips,
            threads,
        )
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._readers = ThreadPoolExecutor(threads, "read")
        self._decoding = ThreadPoolExecutor(1, "decode")

    def submit(self, keys: list[ClipKey]) -> Future[dict[str, Any]]:
        clips = [self._readers.submit(self._read, key) for key in keys]
        return self._decoding.submit(self._batch, clips)

    def close(self) -> None:
        for threads in (self._decoding, self._readers):
            threads.shutdown(cancel_futures=True)

    def _read(self, key: ClipKey) -> Encoded:
        try:
            return read_encoded(self._dataset, key, self._codecs)
        except OtherDecoderError:
            if self._dataset.config.decoder != "auto":
                raise  # PyAV would read it: not for on_bad_clip to skip
        except InputError as error:
            return BadClip(key[1], str(error))
        try:  # by PyAV, as nobody has asked for DALI
            return self._dataset.load(key[1], key[0])
        except InputError as error:
            return BadClip(key[1], str(error))

    def _batch(self, reads: list[Future[Encoded]]) -> dict[str, Any]:
        encoded = [read.result() for read in reads]
        clips = [clip for clip in encoded if isinstance(clip, EncodedClip)]
        with torch.cuda.stream(self._stream):
            decoded = iter(self._decoder.decode(clips))
            items = [self._item(c, decoded) for c in encoded]
            batch = self._dataset.collate(items)
        if self._stream is not None:
            self._stream.synchronize()
        return batch

    def _item(
        self, clip: Encoded, decoded: Iterator[dict[str, Any] | BadClip]
    ) -> dict[str, Any] | BadClip:
        if isinstance(clip, EncodedClip):
            return next(decoded)
        if isinstance(clip, BadClip):
            return clip
        return clip | {"frames": clip["frames"].to(self._device)}
