"""One clip: the same probabilities as `predict`, alone and among others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from helpers.clips.face_videos import one_face, steady, write_faces_video

from peclip_fast.config.parser import resolve
from peclip_fast.data.splits import open_files
from peclip_fast.engine.evaluation import predict_clips
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.models.pretrained import from_pretrained


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_faces_video(folder / f"{n}.mp4", steady(0.5 + n / 4), one_face) for n in range(4)]


@pytest.fixture(scope="module")
def expected(trained_run, clips) -> torch.Tensor:
    run = RunFolder(trained_run)
    config = resolve(run.layers())
    model = from_pretrained(run.model, **asdict(config.model))
    records = open_files([str(clip) for clip in clips], config.data, model.inputs)
    return predict_clips(model, records, config, torch.device("cpu")).probabilities


def test_clips_of_clients_at_once_get_their_own_answers(client, service, clips, expected):
    sent = [number % len(clips) for number in range(24)]

    def ask(number: int) -> dict:
        answer = client.post("/v1/predict", content=clips[number].read_bytes())
        assert answer.status_code == 200, answer.text
        return answer.json()

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, sent))
    classes = list(service.recipe.classes)
    for number, answer in zip(sent, answers, strict=True):
        assert list(answer["probabilities"]) == classes
        found = torch.tensor(list(answer["probabilities"].values()))
        assert (found - expected[number]).abs().max() < 1e-5
        assert answer["prediction"] == classes[int(expected[number].argmax())]


def test_what_is_described_is_what_is_answered(client):
    described = client.get("/openapi.json").json()
    paths = described["paths"]
    assert {"/v1/predict", "/api/jobs", "/api/jobs/{job_id}/explain", "/metrics"} <= set(paths)
    predict = paths["/v1/predict"]["post"]
    assert {"200", "400", "408", "413", "415", "422", "429", "503"} <= set(predict["responses"])
    for name in ("PredictionAnswer", "JobAnswer", "RefusalAnswer"):
        assert described["components"]["schemas"][name]["examples"]


def test_metrics_count_what_was_done(client, clips):
    def count() -> float:
        lines = client.get("/metrics").text.splitlines()
        start = 'peclip_requests_total{route="/v1/predict",status="200"}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(start))

    before = count()
    client.post("/v1/predict", content=clips[0].read_bytes())
    assert count() == before + 1
    text = client.get("/metrics").text
    for name in ("peclip_batch_clips_bucket", "peclip_jobs_waiting", "process_open_fds"):
        assert name in text
