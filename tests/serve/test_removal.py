"""What somebody is told whose result is removed while it is read, and what stays of it: nothing."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

import pytest
from helpers.serving import ended

from peclip_fast.serve import explaining
from peclip_fast.serve.jobs import DONE, Job, JobRecord
from peclip_fast.serve.web import jobs_api
from peclip_fast.serve.web.kept_files import FileResponse

FILES = ("csv", "csv?table=windows", "video", "timeline")


@pytest.fixture(scope="module")
def finished(client, service, face_video, tmp_path_factory) -> Path:
    """A copy of a finished job's folder."""
    name = client.post("/api/jobs", content=face_video.read_bytes()).json()["id"]
    assert ended(client, name)["state"] == "done"
    return Path(shutil.copytree(service.folder / name, tmp_path_factory.mktemp("kept") / name))


@pytest.fixture
def job(finished, service):
    """A finished job."""
    folder = service.store.new_folder()
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    record = JobRecord(folder.name, time.time(), DONE, time.time())
    found = service.store._jobs[folder.name] = Job(record, folder)
    yield found
    service.store.remove(found)


@pytest.fixture
def removed_once_found(service, monkeypatch):
    found = jobs_api._found

    def find(service, name):
        job = found(service, name)
        service.store.remove(job)
        return job

    monkeypatch.setattr(jobs_api, "_found", find)


@pytest.mark.parametrize("part", ["", "explain", *FILES])
def test_what_is_removed_before_it_is_read_is_not_found(client, job, removed_once_found, part):
    answer = client.get(f"/api/jobs/{job.id}/{part}".rstrip("/"))
    assert answer.status_code == 404, answer.text
    assert "no such job" in answer.json()["detail"]
    assert not job.folder.exists()


@pytest.mark.parametrize("part", FILES)
def test_what_is_removed_while_it_is_sent_is_sent_to_its_end(
    client, service, job, monkeypatch, part
):
    expected = client.get(f"/api/jobs/{job.id}/{part}").content
    send = FileResponse.__call__

    async def remove_and_send(self, *arguments):
        service.store.remove(job)
        await send(self, *arguments)

    monkeypatch.setattr(FileResponse, "__call__", remove_and_send)
    answer = client.get(f"/api/jobs/{job.id}/{part}")
    assert (answer.status_code, answer.content) == (200, expected)
    assert not job.folder.exists()


def test_what_is_removed_while_it_is_explained_does_not_come_back(
    client, service, job, monkeypatch
):
    draw = explaining.strip_png

    def remove_and_draw(scene):
        service.store.remove(job)
        (job.result / "windows").mkdir(parents=True)  # as rmtree leaves it where it meets a writer
        return draw(scene)

    monkeypatch.setattr(explaining, "strip_png", remove_and_draw)
    assert client.get(f"/api/jobs/{job.id}/explain").status_code == 404
    assert not job.folder.exists()


def test_an_explanation_that_cannot_be_kept_is_given(client, job, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(explaining, "write_bytes", full)
    answer = client.get(f"/api/jobs/{job.id}/explain")
    assert answer.content.startswith(b"\x89PNG")
    assert not list(job.result.rglob("*.png"))


def test_a_window_of_another_model_is_not_explained(client, job):
    for path in (job.result / "windows").iterdir():
        path.write_bytes(b"x")
    answer = client.get(f"/api/jobs/{job.id}/explain")
    assert answer.status_code == 404
    assert "can't be explained" in answer.json()["detail"]


@pytest.mark.parametrize(("part", "status"), [("a-b", 400), ("999999999-", 416)])
def test_a_part_that_there_is_not_is_refused_with_a_reason(client, job, part, status):
    answer = client.get(f"/api/jobs/{job.id}/video", headers={"range": f"bytes={part}"})
    assert answer.status_code == status
    assert len(answer.json()["detail"]) > 10
