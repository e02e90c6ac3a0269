"""Jobs: what is known of each, in a folder of its own that outlives the server."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.json_files import read_json
from peclip_fast.serve.decoding.analysis import ANNOTATED

WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"
RECORD, UPLOAD, RESULT = "job.json", "upload", "result"


@dataclass
class JobRecord:
    """What of a job is on the disk.

    Args:
        id: which nobody can guess.
        created: when it came, in seconds since 1970.
        state: waiting, done or failed; a job that is worked on has it from before.
        ended: when it came to its end; 0 before.
        error: why it failed.
    """

    id: str
    created: float
    state: str = WAITING
    ended: float = 0.0
    error: str | None = None


@dataclass
class Job:
    """A job of this server.

    Args:
        record: what is on the disk.
        folder: all of it.
        step: what is done now.
        frame: how many frames of it are done.
        frames: of how many.
        stop: ends the work.
    """

    record: JobRecord
    folder: Path
    step: str = ""
    frame: int = 0
    frames: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    working: bool = False

    @property
    def id(self) -> str:
        """As in addresses."""
        return self.record.id

    @property
    def state(self) -> str:
        """Waiting, working, done or failed."""
        return WORKING if self.working else self.record.state

    @property
    def upload(self) -> Path:
        """The client's file, until there is a result."""
        return self.folder / UPLOAD

    @property
    def result(self) -> Path:
        """The folder of what was found."""
        return self.folder / RESULT

    @property
    def annotated(self) -> Path | None:
        """The video with what was found drawn into it."""
        return next(iter(sorted(self.result.glob(f"{ANNOTATED}.*"))), None)

    def end(self, error: str | None) -> None:
        """Keep what came of it; the client's file goes."""
        state = DONE if error is None else FAILED
        record = JobRecord(self.id, self.record.created, state, time.time(), error)
        _write(self.folder, record)
        self.record, self.working = record, False
        self.upload.unlink(missing_ok=True)

    def give_up(self, error: str) -> None:
        """End it where nothing can be written: the next server does it again."""
        self.record = replace(self.record, state=FAILED, ended=time.time(), error=error)
        self.working = False


class JobStore:
    """All jobs of a server's folder, those of before a restart too.

    Args:
        folder: of this server only.
        keep: seconds that results are kept.

    Raises:
        InputError: a job's file is damaged; names it.
    """

    def __init__(self, folder: Path, keep: float) -> None:
        self.folder, self._keep = folder, keep
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        for path in sorted(folder.iterdir()):
            if not path.is_dir():
                continue
            if not (path / RECORD).is_file():  # was never promised
                shutil.rmtree(path)
                continue
            record = read_json(path / RECORD, JobRecord)
            if record.id != path.name:
                raise InputError(f"{path / RECORD}: id: expected {path.name}")
            self._jobs[record.id] = Job(record, path)

    def __iter__(self) -> Iterator[Job]:
        with self._lock:
            return iter(sorted(self._jobs.values(), key=lambda job: job.record.created))

    def get(self, name: str) -> Job | None:
        """A job that isn't over its time."""
        job = self._jobs.get(name)
        return None if job is None or self.over(job) else job

    def unfinished(self) -> list[Job]:
        """What waits or is worked on, the oldest first."""
        return [job for job in self if job.record.state == WAITING]

    def new_folder(self) -> Path:
        """A folder for a file that comes; it is no job before ``add``."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def add(self, folder: Path) -> Job:
        """Promise a result."""
        record = JobRecord(folder.name, time.time())
        _write(folder, record)
        job = Job(record, folder)
        with self._lock:
            self._jobs[job.id] = job
        return job

    def expires(self, job: Job) -> float | None:
        """When its results are removed, in seconds since 1970; None before there are any."""
        return job.record.ended + self._keep if job.record.ended else None

    def over(self, job: Job) -> bool:
        """Whether its time is over."""
        expires = self.expires(job)
        return expires is not None and time.time() >= expires

    def remove(self, job: Job) -> None:
        """Forget a job with all of its files; work on it ends."""
        with self._lock:
            self._jobs.pop(job.id, None)
        job.stop.set()
        # First what makes it a job: a folder that is half removed is none after a restart. Then
        # what is worked on: whoever misses another file finds that it is no more.
        for path in (job.folder / RECORD, job.upload):
            path.unlink(missing_ok=True)
        shutil.rmtree(job.folder, ignore_errors=True)

    def gone(self, job: Job) -> bool:
        """Whether a job was removed, of which nothing stays that was written since then."""
        removed = self.get(job.id) is None
        if removed:
            shutil.rmtree(job.folder, ignore_errors=True)
        return removed

    def sweep(self) -> None:
        """Remove what is over its time."""
        for job in self:
            if self.over(job):
                self.remove(job)


def _write(folder: Path, record: JobRecord) -> None:
    write_text(folder / RECORD, json.dumps(asdict(record)))
