"""A job that is deleted ends quietly, whatever is being done with it, and harms no other one."""

from __future__ import annotations

import json
import signal
import threading
import time
from http.client import HTTPConnection

import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video
from helpers.served import SECONDS, said, served
from helpers.serving import gone

MOMENTS = 6


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("videos") / "faces.mp4"
    return write_faces_video(path, steady(4.0), one_face).read_bytes()


@pytest.fixture(scope="module")
def server(trained_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deleted") / "served"
    with served(trained_run, folder, "--workers", "2", "--stride", "0.1") as (process, client, log):
        yield folder, client, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert said(log) == ["stopped; results are kept for their time"]  # in all these tests


def delete(server, name):
    folder, client, _ = server
    assert client.ask("DELETE", f"/api/jobs/{name}") == (204, b"")
    for what in ("", "/csv", "/video", "/timeline", "/explain"):
        status, body = client.ask("GET", f"/api/jobs/{name}{what}")
        assert (status, "no such job" in json.loads(body)["detail"]) == (404, True)
    assert client.ask("DELETE", f"/api/jobs/{name}")[0] == 404
    gone(folder / name)


def until(client, name, reached):
    end = time.monotonic() + SECONDS
    while not reached(state := client.state(name)):
        assert time.monotonic() < end, state
        time.sleep(0.02)


def test_one_that_has_just_come(server, video):
    """For the first one no decoding process has been started yet."""
    for _ in range(3):
        delete(server, server[1].job(video))


def test_one_that_waits(server, video):
    _, client, _ = server
    names = [client.job(video) for _ in range(4)]
    assert client.state(names[3])["state"] == "waiting"
    delete(server, names[3])
    delete(server, names[2])
    assert [client.ended(name) for name in names[:2]] == ["done", "done"]
    for name in names[:2]:
        delete(server, name)


@pytest.mark.parametrize("step", ["looking", "drawing"])
def test_one_that_is_worked_on(server, video, step):
    _, client, _ = server
    name = client.job(video)
    until(client, name, lambda state: state["step"] == step and state["frame"] > 0)
    delete(server, name)


def places(result):
    return [
        (one["first_frame"], one["last_frame"])
        for track in result["tracks"]
        for one in track["windows"]
    ]


def shares(result):
    return [
        share
        for track in result["tracks"]
        for one in track["windows"]
        for share in one["probabilities"].values()
    ]


@pytest.mark.slow
def test_at_any_moment(server, video):
    """Next to another one, which gives what it always gives."""
    _, client, _ = server
    began = time.monotonic()
    name = client.job(video)
    assert client.ended(name) == "done"
    took = time.monotonic() - began
    expected = client.state(name)["result"]
    delete(server, name)
    for moment in range(MOMENTS):
        other = client.job(video)
        name = client.job(video)
        time.sleep(1.5 * took * moment / MOMENTS)
        delete(server, name)
        assert client.ended(other) == "done"
        result = client.state(other)["result"]
        assert places(result) == places(expected)
        assert shares(result) == pytest.approx(shares(expected), abs=1e-5)
        delete(server, other)


def test_while_its_results_are_read(server, video):
    _, client, _ = server
    name = client.job(video)
    assert client.ended(name) == "done"
    whole = client.ask("GET", f"/api/jobs/{name}/video")[1]
    connection = HTTPConnection("127.0.0.1", client.port, timeout=SECONDS)
    connection.request("GET", f"/api/jobs/{name}/video")
    answer = connection.getresponse()
    first = answer.read(1000)
    delete(server, name)
    assert first + answer.read() == whole
    connection.close()


def test_while_many_ask_for_it(server, video):
    _, client, _ = server
    name = client.job(video)
    assert client.ended(name) == "done"
    over, statuses = threading.Event(), set()

    def ask(what):
        while not over.is_set():
            statuses.add(client.ask("GET", f"/api/jobs/{name}{what}")[0])

    asking = [
        threading.Thread(target=ask, args=(what,))
        for what in ("", "/csv", "/video", "/timeline", "/explain", "/explain?window=5")
    ]
    for thread in asking:
        thread.start()
    time.sleep(0.5)
    delete(server, name)
    time.sleep(0.2)
    over.set()
    for thread in asking:
        thread.join()
    assert statuses <= {200, 404, 429}
    assert {200, 404} <= statuses
    gone(server[0] / name)
