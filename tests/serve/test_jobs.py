"""Jobs on the disk: what a restart, a kill and the clock leave of them."""

from __future__ import annotations

import json
import time

import pytest

from peclip_fast.errors import InputError
from peclip_fast.serve.jobs import DONE, FAILED, WAITING, JobStore


def promised(store: JobStore):
    folder = store.new_folder()
    (folder / "upload").write_bytes(b"video")
    return store.add(folder)


def test_a_restart_loses_nothing_that_was_promised(tmp_path):
    store = JobStore(tmp_path, 100)
    done, failed, waiting = (promised(store) for _ in range(3))
    done.result.mkdir()
    (done.result / "frames.csv").write_text("frame\n")
    done.end(None)
    failed.end("no good")
    waiting.working = True  # when it was killed
    half = store.new_folder()  # whose upload had not ended
    again = JobStore(tmp_path, 100)
    assert [again.get(job.id).state for job in (done, failed, waiting)] == [DONE, FAILED, WAITING]
    assert again.get(failed.id).record.error == "no good"
    assert [job.id for job in again.unfinished()] == [waiting.id]
    assert (again.get(done.id).result / "frames.csv").read_text() == "frame\n"
    assert again.get(waiting.id).upload.read_bytes() == b"video"
    assert not done.upload.exists()
    assert not failed.upload.exists()
    assert not half.exists()
    assert again.expires(again.get(done.id)) == pytest.approx(store.expires(done))


def test_results_are_removed_when_their_time_is_over(tmp_path, monkeypatch):
    store = JobStore(tmp_path, 100)
    old, new = promised(store), promised(store)
    old.end(None)
    now = time.time()
    monkeypatch.setattr("peclip_fast.serve.jobs.time.time", lambda: now + 101)
    assert store.get(old.id) is None
    store.sweep()
    assert not old.folder.exists()
    assert store.get(new.id) is new  # which still waits
    assert new.folder.exists()


def test_removing_ends_the_work(tmp_path):
    store = JobStore(tmp_path, 100)
    job = promised(store)
    store.remove(job)
    assert job.stop.is_set()
    assert list(tmp_path.iterdir()) == []
    store.remove(job)  # twice is no error


def test_a_damaged_record_is_named(tmp_path):
    store = JobStore(tmp_path, 100)
    job = promised(store)
    record = job.folder / "job.json"
    for text, message in (("{", "broken JSON"), (json.dumps({"id": "x", "created": 1}), "id: exp")):
        record.write_text(text)
        with pytest.raises(InputError, match=message):
            JobStore(tmp_path, 100)


def test_names_cannot_be_guessed(tmp_path):
    store = JobStore(tmp_path, 100)
    names = {store.new_folder().name for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 32 for name in names)
