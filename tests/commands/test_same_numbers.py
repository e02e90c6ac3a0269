"""One clip, every way that gives its probabilities: they are the same."""

from __future__ import annotations

import json

import av
import pytest
from helpers.serving import ended
from starlette.testclient import TestClient

from peclip_fast import Analyzer, RunFolder
from peclip_fast.commands.evaluate import main as evaluate
from peclip_fast.commands.export import main as export
from peclip_fast.commands.predict import main as predict
from peclip_fast.config.parser import resolve
from peclip_fast.serve.limits import Limits
from peclip_fast.serve.service import Service
from peclip_fast.serve.web.application import application
from peclip_fast.serve.web.guard import Access

FP32 = ["--train.precision", "fp32"]


def predicted(capsys, source, video):
    capsys.readouterr()
    assert predict([str(source), str(video), "--json", *FP32]) == 0
    return list(json.loads(capsys.readouterr().out)[0]["probabilities"].values())


def evaluated(run, video, folder):
    """Of a test list with the clip alone."""
    (folder / "test.csv").write_text(f"path,label\n{video},anger\n")
    options = ["--data.dataset", "csv", "--data.test_list", str(folder / "test.csv"),
               "--data.classes", "[anger, happiness, sadness]", "--data.root", "/"]  # fmt: skip
    assert evaluate([str(run), "--output", str(folder), *options, *FP32]) == 0
    row = (folder / "predictions.csv").read_text().splitlines()[1]
    return [float(value) for value in row.rsplit(",", 3)[1:]]


def analyzed(run, video):
    """In one window over all of it, with the whole frame as the crop."""
    (window,) = whole_analyzer(run, video).analyze(video).windows
    return list(window.probabilities)


def whole_analyzer(run, video):
    folder = RunFolder(run)
    config = resolve(folder.layers(), FP32)
    with av.open(str(video)) as opened:
        seconds = opened.duration / av.time_base + 0.1
    return Analyzer(folder, config=config, whole_frame=True, window=seconds)


def served(run, video, folder):
    """As one clip, and in the only window of a job."""
    folder.mkdir()
    service = Service(whole_analyzer(run, video), "a run", folder, Limits())
    try:
        app = application(service, Access(None, local=True))
        with TestClient(app, "http://localhost") as client:
            clip = client.post("/v1/predict", content=video.read_bytes()).json()
            name = client.post("/api/jobs", content=video.read_bytes()).json()["id"]
            (track,) = ended(client, name)["result"]["tracks"]
            assert client.delete(f"/api/jobs/{name}").status_code == 204
    finally:
        service.close()
    (window,) = track["windows"]
    return list(clip["probabilities"].values()), list(window["probabilities"].values())


@pytest.mark.slow
def test_predict_evaluate_analyze_serve_and_the_exported_file(tiny_run, assets, tmp_path, capsys):
    video = assets / "videos" / "single_face_640x360_h264.mp4"
    expected = predicted(capsys, tiny_run, video)
    assert max(expected) < 0.999  # else all would agree that it is certain
    path = tmp_path / "model.pt2"
    assert export([str(tiny_run), "--format", "torch", "--output", str(path)]) == 0
    clip, job = served(tiny_run, video, tmp_path / "served")
    found = {
        "exported": predicted(capsys, path, video),
        "evaluate": evaluated(tiny_run, video, tmp_path),
        "analyze": analyzed(tiny_run, video),
        "predict of the server": clip,
        "job of the server": job,
    }
    for name, values in found.items():
        assert values == pytest.approx(expected, abs=1e-5), name
