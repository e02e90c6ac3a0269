"""What is no video, or too much of one, gets a status and a reason; and nothing stays behind."""

from __future__ import annotations

import pytest
from helpers.serving import plain_video, sound_only, with_samples

WHOLE = plain_video()
LONG = plain_video(160, rate=12)


def bodies():
    yield "text", b"hello\n" * 100, 415
    yield "nothing", b"", 422
    yield "zeros", bytes(5000), 415
    yield "cut within its frames", WHOLE[: len(WHOLE) // 3], 422
    yield "cut within its table", WHOLE[:-40], 422
    yield "a video's first bytes", WHOLE[:20], 422
    yield "sound", sound_only(), 422
    yield "an archive", b"PK\x03\x04" + bytes(100), 415
    yield "too large", b"\0" * 2_000_001, 413
    yield "too many pixels", plain_video(2, (1280, 960)), 413
    yield "too long", LONG, 413
    yield "too many frames", plain_video(220, (32, 32), rate=60), 413
    yield "frames that aren't there", with_samples(WHOLE, 2**31), 422
    yield "fewer frames that aren't there", with_samples(WHOLE, 10**6), 422


@pytest.mark.parametrize("route", ["/api/jobs", "/v1/predict"])
@pytest.mark.parametrize(("body", "status"), [pytest.param(b, s, id=n) for n, b, s in bodies()])
def test_what_is_refused(client, service, route, body, status):
    before = sorted(service.folder.iterdir())
    answer = client.post(route, content=body)
    assert answer.status_code == status, answer.text
    assert len(answer.json()["detail"]) > 10
    assert str(service.folder) not in answer.text
    assert sorted(service.folder.iterdir()) == before
    assert client.post("/v1/predict", content=WHOLE).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": str(4 << 30)}, 413),
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_what_headers_tell_is_refused_at_once(client, headers, status):
    answer = client.post("/v1/predict", content=WHOLE, headers=headers)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/jobs/../../etc/passwd", 404),
        ("/api/jobs/%2e%2e%2fjob.json", 404),
        ("/api/jobs/0f3c2a9be1d24f8a9c6f7d5e4b3a2918", 404),
        ("/api/jobs/x/csv?table=run.json", 422),
        ("/api/jobs/x/explain?track=one", 422),
        ("/docs", 404),
    ],
)
def test_no_path_of_a_client_leads_anywhere(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("PUT", "/api/jobs/0f3c2a9be1d24f8a9c6f7d5e4b3a2918", "DELETE, GET"),
        ("GET", "/api/jobs", "POST"),
        ("DELETE", "/v1/predict", "POST"),
        ("POST", "/", "GET"),
    ],
)
def test_other_methods_are_told_all_that_there_are(client, verb, path, allowed):
    answer = client.request(verb, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["detail"]


def test_clips_that_wait_are_counted(client, service, limited, monkeypatch):
    monkeypatch.setattr(service, "clips_waiting", 1000)
    assert client.post("/v1/predict", content=WHOLE).status_code == 429


def test_models_that_see_more_than_frames_take_whole_videos(client, service, monkeypatch):
    monkeypatch.setattr(type(service), "one_crop", False)
    answer = client.post("/v1/predict", content=WHOLE)
    assert answer.status_code == 422
    assert "/api/jobs" in answer.json()["detail"]
