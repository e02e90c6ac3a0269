"""A machine without room: clients are told so, and nothing stays behind or stands still."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from types import SimpleNamespace

import pytest
from helpers.serving import plain_video
from helpers.tiny_runs import largest_file

from peclip_fast.serve import service as services
from peclip_fast.serve.decoding import child
from peclip_fast.serve.decoding import pool as pools
from peclip_fast.serve.decoding.pool import DecodingPool
from peclip_fast.serve.limits import StatusError
from peclip_fast.serve.web import uploads

ROUTES = ["/api/jobs", "/v1/predict"]


@pytest.mark.parametrize("route", ROUTES)
def test_a_file_that_cannot_be_written(client, service, route, capsys):
    before = sorted(service.folder.iterdir())
    with largest_file(100):
        answer = client.post(route, content=plain_video())
    assert answer.status_code == 503
    assert "File too large" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert sorted(service.folder.iterdir()) == before
    assert "OSError" in capsys.readouterr().err  # for the operator
    assert client.post("/v1/predict", content=plain_video()).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
def test_files_leave_room_for_work(client, service, route, monkeypatch):
    before = sorted(service.folder.iterdir())
    free = SimpleNamespace(free=service.limits.bytes - 1)
    monkeypatch.setattr(services.shutil, "disk_usage", lambda folder: free)
    answer = client.post(route, content=plain_video())
    assert (answer.status_code, answer.json()["detail"]) == (503, "the server's disk is full")
    assert sorted(service.folder.iterdir()) == before


def test_a_file_that_comes_as_the_server_ends(client, service, monkeypatch):
    check = uploads._check_headers

    def closing(*arguments):
        check(*arguments)
        monkeypatch.setattr(service, "closing", True)

    monkeypatch.setattr(uploads, "_check_headers", closing)
    answer = client.post("/v1/predict", content=plain_video())
    assert (answer.status_code, answer.json()["detail"]) == (503, "the server is shutting down")


def test_work_that_fills_the_disk(monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(child, "analyze", full)
    answer = child._answer(None, None, None, {"kind": "analyze", "path": "x", "folder": "y"})
    reason = "the server's disk is full (No space left on device)"
    assert answer == {"status": 503, "reason": reason}


@pytest.mark.parametrize("error", [BlockingIOError(11, "try again"), EOFError()])
def test_no_room_for_a_process_is_no_fault_of_the_file(service, monkeypatch, error):
    def start(recipe):
        raise error

    monkeypatch.setattr(pools, "DecodingProcess", start)
    pool = DecodingPool(service.recipe, 1)
    with pytest.raises(StatusError, match="can't start a decoding process") as refused:
        pool.run({}, 1)
    assert refused.value.status == 503
    monkeypatch.undo()
    pool.start()  # the next one can
    pool.close()


def test_sweeping_goes_on_after_an_error(service, limited, monkeypatch, capsys):
    swept = []

    def sweep():
        swept.append(1)
        if len(swept) == 1:
            raise PermissionError(1, "not permitted")

    monkeypatch.setattr(service.store, "sweep", sweep)
    limited(keep=0.2)

    async def a_while():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service.sweep(), 1)

    asyncio.run(a_while())
    assert len(swept) > 2
    assert "not permitted" in capsys.readouterr().err
