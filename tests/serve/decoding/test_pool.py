"""Decoding processes die, hang and lie; the server and the next client don't notice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

import pytest
from helpers.serving import plain_video

from peclip_fast.serve.decoding import child
from peclip_fast.serve.decoding import pool as pools
from peclip_fast.serve.decoding.pool import DecodingPool
from peclip_fast.serve.limits import StatusError


@pytest.fixture(scope="module")
def pool(service):
    found = DecodingPool(service.recipe, 1)
    found.start()
    yield found
    found.close()


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(plain_video())
    return {"kind": "clip", "path": str(path)}


@pytest.fixture
def pid(pool) -> int:
    """Of the only process, as long as it is free."""
    pool.start()
    process = pool._free.get()
    pool._free.put(process)
    return process.pid


def ignore(said, connection) -> None:
    """Leaves images where they are: they are read by no test here."""
    if "images" in said:
        connection.recv_bytes()


def test_a_process_is_used_again(pool, task, pid):
    for _ in range(3):
        assert pool.run(task, 30, ignore)["frames"] == 8
    assert pool._free.get().pid == pid
    pool._free.put(None)


def test_death_at_work_is_the_files_fault_and_the_next_file_has_a_new_process(pool, task, pid):
    def die(said, connection) -> None:
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(StatusError, match="ended its process: signal 9") as refused:
        pool.run({**task}, 30, die)
    assert refused.value.status == 422
    assert pool.run(task, 30, ignore)["frames"] == 8
    assert pool.died >= 1


def test_death_at_rest_is_nobodys_fault(pool, task, pid):
    os.kill(pid, signal.SIGKILL)
    threading.Event().wait(0.3)
    assert pool.run(task, 30, ignore)["frames"] == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_of_the_servers_processes_is_the_servers_to_answer(pool, task, pid, number):
    os.kill(pid, number)
    for _ in range(2):
        assert pool.run(task, 30, ignore)["frames"] == 8
    assert pool._free.get().pid == pid
    pool._free.put(None)


def test_what_hangs_is_ended(pool, task, pid):
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(StatusError, match=r"longer than 0\.3 seconds"):
        pool.run(task, 0.3, ignore)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert pool.run(task, 30, ignore)["frames"] == 8


def test_work_that_nobody_wants_is_ended(pool, task, pid):
    os.kill(pid, signal.SIGSTOP)
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError):
        pool.run(task, 30, ignore, stop)
    assert pool.run(task, 30, ignore)["frames"] == 8


def test_images_of_another_size_are_a_lie(pool, task):
    from peclip_fast.serve.decoding.messages import hear_images

    with pytest.raises(StatusError, match="ended its process"):
        pool.run(task, 30, lambda said, to: hear_images(to, ("frames",), (1, 3, 2, 2)))
    with pytest.raises(StatusError, match="ended its process"):
        pool.run(task, 30, lambda said, to: hear_images(to, ("frames",), (99, 3, 999, 999)))
    assert pool.run(task, 30, ignore)["frames"] == 8


def test_a_closed_pool_starts_nothing(service, task):
    closed = DecodingPool(service.recipe, 1)
    closed.close()
    with pytest.raises(StatusError, match="shutting down"):
        closed.run(task, 1)


@pytest.fixture
def long_task(tmp_path):
    """Whose process says a lot all the time."""
    (tmp_path / "upload").write_bytes(plain_video(190, rate=60))
    (tmp_path / "result").mkdir()
    return {
        "kind": "analyze",
        "path": str(tmp_path / "upload"),
        "folder": str(tmp_path / "result"),
    }


def test_work_that_nobody_wants_is_ended_although_it_is_never_silent(pool, long_task, monkeypatch):
    monkeypatch.setattr(Connection, "poll", lambda self, timeout: True)  # it always has something
    stop, heard = threading.Event(), []

    def hear(said, connection):
        heard.append(said)
        stop.set()

    with pytest.raises(InterruptedError):
        pool.run(long_task, 60, hear, stop)
    assert len(heard) == 1


def test_what_takes_too_long_is_ended_although_it_is_never_silent(pool, long_task, monkeypatch):
    monkeypatch.setattr(Connection, "poll", lambda self, timeout: True)
    pool.start()
    with pytest.raises(StatusError, match=r"longer than 0\.1 seconds"):
        pool.run(long_task, 0.1)


def test_a_process_that_is_not_wanted_before_it_is_ready_is_ended(service, capfd):
    other, stop = DecodingPool(service.recipe, 1), threading.Event()
    stop.set()
    before = set(multiprocessing.active_children())
    with pytest.raises(InterruptedError):
        other.run({}, 30, ignore, stop)
    assert set(multiprocessing.active_children()) <= before


def test_files_that_are_removed_at_work_end_it_quietly(tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(b"")

    def removed(*arguments):
        path.unlink()
        (tmp_path / "result" / "frames.csv").write_text("")

    monkeypatch.setattr(child, "analyze", removed)
    task = {"kind": "analyze", "path": str(path), "folder": str(tmp_path / "result")}
    answer = child._answer(None, None, None, task)
    assert answer == {"status": 404, "reason": "the video was removed", "last": True}
    path.write_bytes(b"")
    monkeypatch.setattr(child, "analyze", lambda *arguments: {}["a bug"])
    with pytest.raises(KeyError):
        child._answer(None, None, None, task)


def test_what_is_said_after_the_end_goes_nowhere(service):
    """Not even to a file that has the connection's number by then."""
    process = pools.DecodingProcess(service.recipe)
    process.wait(threading.Event())
    line, number = process._here, process._here.fileno()
    with line._sending:
        ending = threading.Thread(target=process.end)
        ending.start()
        time.sleep(0.2)
        os.fstat(number)  # is open as long as somebody sends
    ending.join()
    with pytest.raises(OSError, match="closed"):
        pools.tell(line, {})
