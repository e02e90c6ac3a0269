"""A video's way: sent, worked on, its results taken, explained and removed."""

from __future__ import annotations

import csv
import io
import json

import av
import pytest
from helpers.serving import ended, gone, plain_video

from peclip_fast.analyze.analyzer import versions


@pytest.fixture(scope="module")
def done(client, face_video):
    """The state of a job that is done."""
    answer = client.post("/api/jobs", content=face_video.read_bytes())
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/jobs/{answer.json()['id']}"
    state = ended(client, answer.json()["id"])
    assert state["state"] == "done", state
    return state


def test_the_numbers_are_those_of_analyze(client, done, served_analyzer, face_video):
    found = served_analyzer.analyze(face_video)
    [track], [told] = found.tracks, done["result"]["tracks"]
    assert told["track"] == track.track
    assert list(told["probabilities"].values()) == pytest.approx(track.probabilities, abs=1e-5)
    assert len(told["windows"]) == len(found.windows) >= 3
    for window, other in zip(told["windows"], found.windows, strict=True):
        assert window["start"] == pytest.approx(other.start, abs=1e-5)
        assert list(window["probabilities"].values()) == pytest.approx(
            other.probabilities, abs=1e-5
        )
    rows = list(csv.DictReader(io.StringIO(client.get(f"/api/jobs/{done['id']}/csv").text)))
    assert len(rows) == len(found.frames) == 24
    for row, other in zip(rows, found.frames, strict=True):
        assert float(row["FaceRectX"]) == pytest.approx(other.box.x, abs=0.01)
        shares = [float(row[f"p_{name}"]) for name in found.classes]
        assert shares == pytest.approx(other.probabilities, abs=1e-5)


def test_what_can_be_taken(client, done):
    job = f"/api/jobs/{done['id']}"
    for table in ("frames", "windows", "tracks"):
        answer = client.get(f"{job}/csv", params={"table": table})
        assert answer.headers["content-type"].startswith("text/csv")
        assert f'filename="{table}.csv"' in answer.headers["content-disposition"]
        assert "prediction" in answer.text.splitlines()[0]
    video = client.get(f"{job}/video")
    assert video.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(video.content)) as container:
        assert len(list(container.decode(video=0))) == 24
    part = client.get(f"{job}/video", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, video.content[:10])
    drawing = client.get(f"{job}/timeline").text
    assert drawing.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert 'class="head"' in drawing


def test_the_result_says_what_made_it_and_not_where(client, done, service, served_analyzer):
    about = done["result"]["about"]
    assert about["versions"] == versions()
    assert about["window"] == served_analyzer.windows.seconds
    text = json.dumps(done)
    assert str(service.folder) not in text
    assert "/" not in about["model"]["run"]


def test_the_clients_file_is_gone_when_there_is_a_result(service, done):
    job = service.store.get(done["id"])
    assert not job.upload.exists()
    assert 0 < done["expires_in"] <= service.limits.keep


def test_windows_are_explained_as_they_were_seen(client, done):
    job = f"/api/jobs/{done['id']}"
    first = client.get(f"{job}/explain", params={"track": 1, "window": 0})
    assert first.headers["content-type"] == "image/png"
    assert first.content.startswith(b"\x89PNG")
    assert client.get(f"{job}/explain", params={"track": 1, "window": 0}).content == first.content
    assert client.get(f"{job}/explain", params={"track": 1, "window": 1}).content != first.content
    for wrong in ({"track": 9}, {"window": 99}):
        answer = client.get(f"{job}/explain", params=wrong)
        assert answer.status_code == 404
        assert answer.json()["detail"]


def test_explanations_start_from_the_windows_own_answer(service, done):
    """What is kept of a window gives the probabilities that the job was told."""
    from peclip_fast.analyze.reading import read_results

    job = service.store.get(done["id"])
    for row in read_results(job.result).windows:
        name = f"{row.track}-{row.first_frame}-{row.last_frame}"
        scene = service.explainer._scene(job.result / "windows" / name, row)
        found = scene.explanation.probabilities[-1].tolist()
        assert found == pytest.approx(row.probabilities, abs=1e-5)


def test_a_removed_job_leaves_nothing(client, service, face_video):
    name = client.post("/api/jobs", content=face_video.read_bytes()).json()["id"]
    assert client.delete(f"/api/jobs/{name}").status_code == 204
    assert client.get(f"/api/jobs/{name}").status_code == 404
    assert client.delete(f"/api/jobs/{name}").status_code == 404
    gone(service.folder / name)


def test_a_video_without_a_face_says_so(client):
    name = client.post("/api/jobs", content=plain_video()).json()["id"]
    state = ended(client, name)
    assert state["state"] == "done"
    assert state["result"]["tracks"] == []
    assert state["result"]["notes"] == ["No face was found."]
    assert client.get(f"/api/jobs/{name}/video").status_code == 200


def test_results_wait_for_the_job(client, service, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(service.workers, "put", lambda job: None)
        name = client.post("/api/jobs", content=plain_video()).json()["id"]
    for what in ("csv", "video", "timeline", "explain"):
        answer = client.get(f"/api/jobs/{name}/{what}")
        assert answer.status_code == 409
        assert "waiting" in answer.json()["detail"]
    service.store.get(name).end("it was no good")
    answer = client.get(f"/api/jobs/{name}/csv")
    assert (answer.status_code, answer.json()["detail"]) == (422, "the job failed: it was no good")
    client.delete(f"/api/jobs/{name}")


def test_no_more_jobs_than_can_wait(client, service, limited, monkeypatch):
    limited(waiting=1)
    with monkeypatch.context() as patch:
        patch.setattr(service.workers, "put", lambda job: None)
        name = client.post("/api/jobs", content=plain_video()).json()["id"]
    answer = client.post("/api/jobs", content=plain_video())
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    client.delete(f"/api/jobs/{name}")
    with monkeypatch.context() as patch:
        patch.setattr(service, "closing", True)
        assert client.post("/api/jobs", content=plain_video()).status_code == 503
        assert client.get("/healthz").status_code == 503
    assert client.get("/healthz").json() == {"status": "ok"}
