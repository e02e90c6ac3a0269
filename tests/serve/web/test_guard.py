"""Who is let in, and what browsers are told."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from peclip_fast.serve.web.application import PAGE, application
from peclip_fast.serve.web.guard import Access

TOKEN = "a-token_of-24-characters"


@pytest.fixture
def far(service):
    """A server that others can reach."""
    return TestClient(application(service, Access(TOKEN, local=False)), "http://example.org")


PROTECTED = ("/api/about", "/api/jobs/x", "/metrics")


@pytest.mark.parametrize("path", PROTECTED)
def test_without_the_token_nothing_is_told(far, path):
    answer = far.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    for wrong in ("Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"):
        headers = {"authorization": wrong.encode("latin-1")}
        assert far.get(path, headers=headers).status_code == 401
    assert far.get(path, headers={"cookie": "peclip_token=x; ="}).status_code == 401
    told = far.get(path, headers={"authorization": f"Bearer {TOKEN}"})
    assert told.status_code in (200, 404)


def test_sending_needs_the_token_too(far):
    for path in ("/api/jobs", "/v1/predict", "/api/session"):
        assert far.post(path, content=b"x").status_code == 401
    assert far.delete("/api/jobs/x").status_code == 401


@pytest.mark.parametrize("path", ["/", "/app.js", "/app.css", "/healthz", "/openapi.json"])
def test_the_page_itself_is_open(far, path):
    assert far.get(path).status_code == 200


def test_a_browser_gets_a_cookie_that_scripts_cannot_read(far):
    answer = far.post("/api/session", headers={"authorization": f"Bearer {TOKEN}"})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 204
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert far.get("/api/about").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example", 421),
     ("localhost.evil.example", 421), ("[", 421)],
)  # fmt: skip
def test_another_name_for_this_machine_is_not_answered(client, host, status):
    answer = client.get("/api/about", headers={"host": host})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost", 404), (None, 404), ("http://evil.example", 403), ("null", 403),
     ("http://localhost:81", 403), ("http://[", 403)],
)  # fmt: skip
def test_other_sites_pages_send_nothing(client, origin, status):
    headers = {} if origin is None else {"origin": origin}
    assert client.delete("/api/jobs/x", headers=headers).status_code == status


def test_every_answer_has_a_strict_policy(client):
    for path in ("/", "/app.js", "/api/jobs/x", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_page_names_nothing_outside():
    for path in PAGE.iterdir():
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.", text), path
    page = (PAGE / "index.html").read_text("utf-8")
    assert not re.search(r"<script>|<style>|\sstyle=|\son\w+=", page)
