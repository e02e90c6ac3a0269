"""What becomes of a job when its work, the server's end and its deletion fall together."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from helpers.tiny_runs import largest_file

from peclip_fast.serve.jobs import DONE, FAILED, WAITING, JobStore
from peclip_fast.serve.workers import JobWorkers

SECONDS = 30


class OneTask:
    """A pool whose only process waits in the middle of its task, and then ends it by ``how``."""

    most = 1

    def __init__(self, how) -> None:
        self.begun, self.go, self._how = threading.Event(), threading.Event(), how

    def run(self, task, seconds, heard, stop) -> None:
        self.begun.set()
        assert self.go.wait(SECONDS)
        self._how(task)


def result(task) -> None:
    with open(f"{task['folder']}/frames.csv", "w", encoding="utf-8") as file:
        file.write("frame\n")


def stopped(task) -> None:
    result(task)
    raise InterruptedError


@pytest.fixture
def begin(tmp_path):
    def make(how, failed=pytest.fail):
        store = JobStore(tmp_path, 100)
        folder = store.new_folder()
        (folder / "upload").write_bytes(b"video")
        job, ended, pool = store.add(folder), [], OneTask(how)
        recipe = SimpleNamespace(limits=SimpleNamespace(time=SECONDS))
        workers = JobWorkers(store, pool, None, recipe, ended.append, failed)
        assert pool.begun.wait(SECONDS)
        return store, job, workers, pool, ended

    return make


def close_while_working(workers: JobWorkers, job, pool: OneTask) -> None:
    closing = threading.Thread(target=workers.close)
    closing.start()
    assert job.stop.wait(SECONDS)
    pool.go.set()
    closing.join(SECONDS)
    assert not closing.is_alive()


def test_what_is_finished_as_the_server_ends_is_done_and_keeps_its_result(begin):
    store, job, workers, pool, ended = begin(result)
    close_while_working(workers, job, pool)
    assert job.state == DONE
    assert (job.result / "frames.csv").is_file()
    assert ended == [job]
    assert JobStore(store.folder, 100).get(job.id).state == DONE


def test_what_the_end_interrupts_waits_for_the_next_server(begin):
    store, job, workers, pool, ended = begin(stopped)
    close_while_working(workers, job, pool)
    assert job.state == WAITING
    assert not job.result.exists()
    assert ended == []
    assert JobStore(store.folder, 100).unfinished()[0].upload.read_bytes() == b"video"


@pytest.mark.parametrize("how", [result, stopped])
def test_nothing_stays_of_what_is_deleted_at_work(begin, how):
    store, job, workers, pool, ended = begin(how)
    store.remove(job)
    job.folder.mkdir()  # as what the process still writes
    job.result.mkdir()
    pool.go.set()
    workers.close()
    assert list(store.folder.iterdir()) == []
    assert ended == []


def test_a_full_disk_fails_the_job_and_not_the_worker(begin):
    problems: list[OSError] = []
    store, job, workers, pool, ended = begin(result, problems.append)
    with largest_file(0):
        pool.go.set()
        for _ in range(SECONDS * 20):
            if job.state == FAILED:
                break
            time.sleep(0.05)
    assert job.record.error == "the server couldn't keep the result: File too large"
    assert problems
    assert ended == [job]
    assert not job.result.exists()  # makes room
    assert store.expires(job) is not None
    again = JobStore(store.folder, 100)
    assert [(one.id, one.state) for one in again] == [(job.id, WAITING)]
    assert again.get(job.id).upload.read_bytes() == b"video"
    folder = store.new_folder()
    (folder / "upload").write_bytes(b"another")
    second = store.add(folder)
    workers.put(second)
    workers.put(second)  # is taken when the first is ended
    end = time.monotonic() + SECONDS
    while second.state != DONE and time.monotonic() < end:
        time.sleep(0.05)
    assert second.state == DONE
    workers.close()
