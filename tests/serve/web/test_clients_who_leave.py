"""A client who is gone before it has the job's name gets no job, since nobody could delete it."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import uvicorn
from helpers.serving import plain_video

from peclip_fast.serve.server import configured, open_socket
from peclip_fast.serve.web.application import application
from peclip_fast.serve.web.guard import Access


@pytest.fixture(scope="module")
def port(service):
    listening = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(configured(application(service, Access(None, local=True)), 10))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("stays", [False, True])
def test_a_client_who_leaves_while_the_file_is_looked_at(port, service, monkeypatch, stays):
    looking, go, over = threading.Event(), threading.Event(), threading.Event()
    run = service.clips.run

    def slow(*arguments):
        looking.set()
        assert go.wait(30)
        try:
            return run(*arguments)
        finally:
            over.set()

    monkeypatch.setattr(service.clips, "run", slow)
    monkeypatch.setattr(service.workers, "put", lambda job: None)
    before, files = list(service.store), sorted(service.folder.iterdir())
    body = plain_video()
    head = f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(head.encode() + body)
        assert looking.wait(30)
        if stays:
            go.set()
            assert client.recv(100).startswith(b"HTTP/1.1 202")
    time.sleep(0.2)  # the server hears of it
    go.set()
    assert over.wait(30)
    time.sleep(0.2)
    new = [job for job in service.store if job not in before]
    assert len(new) == stays
    for job in new:
        service.store.remove(job)
    assert sorted(service.folder.iterdir()) == files
