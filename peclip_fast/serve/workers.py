"""Who works on jobs: threads that each have a decoding process do one after the other."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

from peclip_fast.analyze.results import Probabilities
from peclip_fast.errors import one_line
from peclip_fast.serve.decoding.messages import hear_images, tell
from peclip_fast.serve.decoding.pool import DecodingPool
from peclip_fast.serve.decoding.recipe import ServedRecipe
from peclip_fast.serve.device import DeviceQueue
from peclip_fast.serve.jobs import Job, JobStore
from peclip_fast.serve.limits import StatusError


class JobWorkers:
    """Works on jobs in the order in which they came.

    Args:
        store: of the jobs; those of before a restart are taken up.
        pool: of decoding processes; so many jobs are worked on at a time.
        device: the model.
        recipe: what the processes know.
        ended: is called with each job that came to its end.
        failed: is called with what goes wrong that no client is to blame for.
    """

    def __init__(
        self,
        store: JobStore,
        pool: DecodingPool,
        device: DeviceQueue,
        recipe: ServedRecipe,
        ended: Callable[[Job], None] = lambda job: None,
        failed: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._store, self._pool, self._device, self._recipe = store, pool, device, recipe
        self._ended, self._failed = ended, failed
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        for job in store.unfinished():
            self._queue.put(job)
        self._threads = [
            threading.Thread(target=self._work, name="jobs", daemon=True) for _ in range(pool.most)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """A job more."""
        self._queue.put(job)

    def close(self) -> None:
        """Leave all jobs where they are: a server that starts again takes them up."""
        self._closing.set()
        for job in self._store:
            job.stop.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None and not self._closing.is_set():
            if job.stop.is_set():  # it was deleted
                continue
            job.working = True
            try:
                error = self._do(job)
            except InterruptedError:
                shutil.rmtree(job.result, ignore_errors=True)
                job.working = False
                self._store.gone(job)
                continue
            except Exception as problem:
                if self._store.gone(job):
                    continue
                self._failed(problem)
                error = "the server failed at this video; its operator finds the reason in the log"
            self._end(job, error)
            if not self._store.gone(job):
                self._ended(job)

    def _end(self, job: Job, error: str | None) -> None:
        """Keep what came of it, if it is only that nothing could be kept."""
        with contextlib.suppress(FileNotFoundError):  # deleted
            try:
                job.end(error)
            except FileNotFoundError:
                raise
            except OSError as problem:  # such as a full disk
                self._failed(problem)
                shutil.rmtree(job.result, ignore_errors=True)
                job.give_up(f"the server couldn't keep the result: {one_line(problem.strerror)}")

    def _do(self, job: Job) -> str | None:
        """Why it failed, or None."""
        shutil.rmtree(job.result, ignore_errors=True)
        job.result.mkdir()
        task = {"kind": "analyze", "path": str(job.upload), "folder": str(job.result)}

        problems: list[BaseException] = []

        def heard(said: dict[str, Any], connection: Connection) -> None:
            if "step" in said:
                job.step = str(said["step"])
                job.frame, job.frames = int(said["frame"]), int(said["frames"])
            elif "window" in said:
                given = hear_images(connection, self._recipe.inputs, self._recipe.shape)
                found = self._device.window(given)
                found.add_done_callback(lambda found: answer(connection, found))

        def answer(connection: Connection, found: Future[Probabilities]) -> None:
            problem = found.exception()
            if problem is not None:
                problems.append(problem)
                job.stop.set()
                return
            with contextlib.suppress(OSError):  # its process has ended
                tell(connection, {"probabilities": found.result()})

        try:
            self._pool.run(task, self._recipe.limits.time, heard, job.stop)
        except StatusError as refused:
            return refused.reason
        except InterruptedError:
            if problems:
                raise problems[0] from None
            raise
        return None
