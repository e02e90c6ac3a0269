"""The page in Chromium: a file, the camera, keys, a telephone, and no request outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import uvicorn
from helpers.browser import Page, chromium

from peclip_fast.serve.server import configured, open_socket
from peclip_fast.serve.web.application import application
from peclip_fast.serve.web.guard import Access

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
RESULT = "!document.getElementById('result').hidden"
SEND = "!document.getElementById('send').hidden"


@pytest.fixture(scope="module")
def address(service) -> Iterator[str]:
    listening = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(configured(application(service, Access(None, local=True)), 10))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://localhost:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(tmp_path) -> Iterator[Page]:
    with chromium(tmp_path / "profile", *CAMERA) as found:
        yield found


def text(page: Page, name: str) -> str:
    return page.value(f"document.getElementById('{name}').textContent")


def test_a_file_from_sending_to_the_explanation(page, address, face_video, service):
    page.visit(address)
    page.wait(SEND)
    page.choose("#file", face_video)
    page.wait(RESULT)
    assert "1 face followed" in text(page, "summary")
    page.wait("document.getElementById('video').readyState > 0")
    page.value("document.getElementById('timeline').focus()")
    page.press("ArrowRight", 39)
    assert text(page, "clock") == "0:01.0"
    assert "Track 1" in text(page, "now")
    page.wait("Math.abs(document.getElementById('video').currentTime - 1) < 0.1")
    head = "Number(document.querySelector('.timeline .head').getAttribute('x1'))"
    before = page.value(head)
    page.value("document.getElementById('video').play()")
    page.wait(f"{head} > {before} + 100")
    page.value("document.getElementById('here').click()")
    page.value("document.getElementById('explain').click()")
    page.wait("document.getElementById('strip-image').naturalWidth > 500")
    assert "probabilities" in page.value("document.getElementById('strip-image').alt")
    asked = "(link) => fetch(link.href).then((answer) => answer.status)"
    links = f"[...document.querySelectorAll('#downloads a')].map({asked})"
    assert page.value(f"Promise.all({links})") == [200] * 5
    name = page.value("location.hash").removeprefix("#job=")
    assert service.store.get(name) is not None
    page.value("document.getElementById('delete').click()")
    page.wait(SEND)
    assert page.messages == []
    assert all(r.startswith((address, "blob:", "data:", "about:")) for r in page.requests)


def test_a_text_is_refused_and_a_broken_video_has_a_reason(page, address, tmp_path):
    page.visit(address)
    page.wait(SEND)
    notes = tmp_path / "notes.mp4"
    notes.write_text("not a video\n")
    page.choose("#file", notes)
    page.wait("!document.getElementById('problem').hidden")
    assert text(page, "problem") == "This is a text, not a video."
    assert page.messages == []
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes.fromhex("00000018") + b"ftypmp42" + bytes(500))
    page.choose("#file", broken)
    page.wait("document.getElementById('problem').textContent.startsWith('not a readable video')")
    assert page.value(SEND)


def test_the_camera_on_a_telephone(page, address):
    page.visit(address, width=390, height=800, dark=True)
    page.wait(SEND)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    page.value("document.getElementById('record').click()")
    page.wait("document.getElementById('preview').videoWidth > 0")
    page.value("document.getElementById('start').click()")
    page.wait("document.getElementById('recorded').textContent > '0:01.0'")
    page.value("document.getElementById('stop').click()")
    page.wait(RESULT)
    assert "No face was found." in text(page, "notes")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    assert page.messages == []


def test_a_page_that_is_opened_again_shows_the_same_job(page, address, client, face_video):
    name = client.post("/api/jobs", content=face_video.read_bytes()).json()["id"]
    page.visit(f"{address}#job={name}")
    page.wait(RESULT)
    assert "1 face followed" in text(page, "summary")
