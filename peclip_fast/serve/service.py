"""The parts of a server, and what they do for a client, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.analyze.results import Probabilities
from peclip_fast.serve.decoding.messages import hear_images
from peclip_fast.serve.decoding.pool import DecodingPool
from peclip_fast.serve.decoding.recipe import ServedRecipe
from peclip_fast.serve.device import DeviceQueue
from peclip_fast.serve.explaining import Explainer
from peclip_fast.serve.jobs import WAITING, WORKING, Job, JobStore
from peclip_fast.serve.limits import Limits, StatusError
from peclip_fast.serve.metrics import Metrics
from peclip_fast.serve.workers import JobWorkers

_ROOM = 4  # times the largest file must be free on the disk
_SWEEP = 20.0  # seconds between two looks for what is over its time, at most


class Service:
    """Everything that a server has.

    Args:
        analyzer: the model, and how videos are analyzed.
        title: of the run's dataset.
        folder: of the jobs.
        limits: of clients' files.
        workers: jobs that are worked on at a time; as many clips are decoded at a time.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        title: str,
        folder: Path,
        limits: Limits,
        workers: int = 1,
    ) -> None:
        self.limits, self.title, self.folder = limits, title, folder
        self.recipe = ServedRecipe.of(analyzer, limits)
        self.licences = {
            weights.name: weights.licence
            for weights in (analyzer.finder.detector.weights, analyzer.finder.mesh.weights)
        }
        self.store = JobStore(folder, limits.keep)
        self.metrics = Metrics(self._gauges)
        self.device = DeviceQueue(analyzer.classifier, analyzer.batch, counted=self.metrics.batch)
        self.explainer = Explainer(analyzer.model, self.recipe, self.device, title)
        self.clips = DecodingPool(self.recipe, max(2, workers))
        self.videos = DecodingPool(self.recipe, workers)
        self._threads = ThreadPoolExecutor(self.clips.most, thread_name_prefix="clips")
        self.clips_waiting = 0
        self.clips.start()  # so that a server that can't decode doesn't begin
        self.workers = JobWorkers(
            self.store, self.videos, self.device, self.recipe, self.metrics.ended, log
        )
        self.closing = False

    @property
    def one_crop(self) -> bool:
        """Whether the model takes a clip without anything that has to be found in it first."""
        return self.recipe.inputs == ("frames",)

    def check_room(self) -> None:
        """Raise StatusError where a job more can't be taken."""
        if self.closing:
            raise StatusError(503, "the server is shutting down")
        waiting = len(self.store.unfinished())
        if waiting >= self.limits.waiting:
            raise StatusError(429, f"{waiting} videos are waiting already; try again later")
        if shutil.disk_usage(self.folder).free < _ROOM * self.limits.bytes:
            raise StatusError(503, "the server's disk is full")

    async def check_file(self, folder: Path) -> None:
        """Raise StatusError for an uploaded file that is no video within the limits."""
        await self._decoded({"kind": "check", "path": str(folder / "upload")})

    def take(self, folder: Path) -> Job:
        """Promise a result for an uploaded file.

        Raises:
            StatusError: there is no room.
        """
        self.check_room()
        job = self.store.add(folder)
        self.workers.put(job)
        return job

    async def predict(self, path: Path) -> Probabilities:
        """The probabilities of a clip.

        Raises:
            StatusError: it is no clip within the limits, or there is no room.
        """
        if not self.one_crop:
            raise StatusError(
                422,
                f"this model sees {', '.join(self.recipe.inputs)}, which a clip doesn't have; "
                "send a whole video to /api/jobs",
            )
        found: list[Future[Probabilities]] = []

        def heard(said: dict[str, Any], connection: Connection) -> None:
            if "images" in said:
                given = hear_images(connection, ("frames",), self.recipe.shape)
                found.append(self.device.clip(given))

        await self._decoded({"kind": "clip", "path": str(path)}, heard)
        if not found:  # said by a process that does what a file wants
            raise StatusError(422, "no frames came of the video")
        return await asyncio.wrap_future(found[0])

    async def _decoded(
        self, task: dict[str, Any], heard: Any = lambda said, connection: None
    ) -> Any:
        """What a decoding process makes of a file at once."""
        if self.closing:
            raise StatusError(503, "the server is shutting down")
        if self.clips_waiting >= self.limits.waiting + self.clips.most:
            raise StatusError(429, "too many clips are waiting already; try again later")
        self.clips_waiting += 1
        run = self.clips.run
        try:
            work = self._threads.submit(run, task, self.limits.clip_time, heard)
            return await asyncio.wrap_future(work)
        finally:
            self.clips_waiting -= 1

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """A folder for a file that comes, removed unless it became a job."""
        folder = self.store.new_folder()
        try:
            yield folder
        finally:
            if self.store.get(folder.name) is None:
                shutil.rmtree(folder, ignore_errors=True)

    def check_upload(self) -> None:
        """Raise StatusError where no more can be taken of a file that comes."""
        if self.closing:
            raise StatusError(503, "the server is shutting down")
        if shutil.disk_usage(self.folder).free < self.limits.bytes:
            raise StatusError(503, "the server's disk is full")

    async def sweep(self) -> None:
        """Remove what is over its time, again and again."""
        while True:
            try:
                await asyncio.to_thread(self.store.sweep)
            except OSError as error:  # may be different the next time
                log(error)
            await asyncio.sleep(min(_SWEEP, self.limits.keep / 4))

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        states = [job.state for job in self.store]
        died = self.clips.died + self.videos.died
        yield "peclip_jobs_waiting", "Jobs that wait", states.count(WAITING)
        yield "peclip_jobs_working", "Jobs that are worked on", states.count(WORKING)
        yield "peclip_clips_waiting", "Files to be looked at at once", self.clips_waiting
        yield "peclip_device_waiting", "Clips and windows for the model", self.device.waiting
        yield "peclip_decoders_died", "Decoding processes that had to be replaced", died

    def close(self) -> None:
        """End all processes and threads. What is on the disk stays for the next server."""
        self.closing = True
        self.workers.close()
        self.videos.close()
        self.clips.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.device.close()


def log(problem: BaseException) -> None:
    """Tell the operator of what no client is to blame for."""
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        traceback.print_exception(problem, file=sys.stderr)
