"""Predictions over a split, clips that can't be read, and the report made of them."""

from __future__ import annotations

import csv
import io

import pytest
import torch
from helpers.tiny_runs import write_clips
from PIL import Image

from peclip_fast import InputError, create_model
from peclip_fast.config.data import DataConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.data.splits import open_splits
from peclip_fast.engine.distributed import World
from peclip_fast.engine.evaluation import predict
from peclip_fast.engine.report import Report

ALONE = World(0, 1, 0, 1)
CPU = torch.device("cpu")


@pytest.fixture
def splits(tmp_path):
    return open_splits(DataConfig("folder", write_clips(tmp_path / "clips", train=1, test=3)))


@pytest.fixture
def model(tiny_backbone, splits):
    return create_model(backbone=tiny_backbone, classes=splits.classes, prompt_depth=2)


def config(**data: object) -> RunConfig:
    return RunConfig(data=DataConfig("folder", frames=2, num_workers=0, **data))


def test_all_clips_in_order(model, splits):
    found = predict(model, splits.test, config(), CPU, ALONE)
    assert found.index.tolist() == list(range(9))
    assert found.labels.tolist() == [record.label for record in splits.test]
    assert torch.allclose(found.probabilities.sum(1), torch.ones(9))
    assert not model.training
    # A clip's probabilities don't depend on the batches that it is part of.
    alone = predict(model, splits.test[4:5], config(), CPU, ALONE)
    assert torch.allclose(alone.probabilities[0], found.probabilities[4], atol=1e-5)


def test_no_batch_waits_for_its_results(model, splits, monkeypatch):
    """Class features are asked for once, and probabilities fetched once, after all batches."""
    asked, fetched = [], []
    features, cpu = model.class_features, torch.Tensor.cpu
    monkeypatch.setattr(model, "class_features", lambda: asked.append(1) or features())
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: fetched.append(t.shape) or cpu(t))
    config_of_three = config()
    object.__setattr__(config_of_three.train, "eval_batch_size", 4)
    predict(model, splits.test, config_of_three, CPU, ALONE)
    assert asked == [1]
    assert fetched == [(9, len(splits.classes))]


def test_two_shards_make_the_whole(model, splits, monkeypatch):
    whole = predict(model, splits.test, config(), CPU, ALONE)
    parts = []

    def keep(value):
        parts.append(value)
        return [value]

    monkeypatch.setattr("peclip_fast.engine.evaluation.gather", keep)
    sizes = [
        len(predict(model, splits.test, config(), CPU, World(r, 2, r, 2)).index) for r in (0, 1)
    ]
    assert sizes == [5, 4]
    monkeypatch.setattr("peclip_fast.engine.evaluation.gather", lambda value: parts)
    union = predict(model, splits.test, config(), CPU, ALONE)
    assert torch.equal(union.index, whole.index)
    assert torch.equal(union.labels, whole.labels)
    assert torch.allclose(union.probabilities, whole.probabilities, atol=1e-5)
    parts.append(parts[0])
    with pytest.raises(RuntimeError, match="evaluated twice"):
        predict(model, splits.test, config(), CPU, ALONE)


def test_bad_clips(model, splits):
    bad = splits.test[4].path
    for image in bad.iterdir():
        image.write_bytes(b"no picture")
    with pytest.raises(InputError, match=str(bad)):
        predict(model, splits.test, config(), CPU, ALONE)
    found = predict(model, splits.test, config(on_bad_clip="skip"), CPU, ALONE)
    assert found.index.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert [bad_clip.clip for bad_clip in found.bad] == [4]
    assert str(bad) in found.bad[0].reason
    with pytest.raises(InputError, match="none of the 1 clips could be read"):
        predict(model, splits.test[4:5], config(on_bad_clip="skip"), CPU, ALONE)


def test_report(model, splits, tmp_path):
    bad = splits.test[4].path
    for image in bad.iterdir():
        image.write_bytes(b"no picture")
    options = config(on_bad_clip="skip")
    predictions = predict(model, splits.test, options, CPU, ALONE)
    report = Report(options, splits.test, predictions, splits.classes, "last epoch", {"x": 1})
    report.write(tmp_path / "report")
    found = report.as_json()
    assert found["clips"] == 8
    assert found["x"] == 1
    assert len(found["skipped_test_clips"]) == 1
    assert "warning: 1 test clips were skipped and are in no figure" in report.as_table()
    rows = list(csv.reader(io.StringIO(report.as_csv())))
    assert rows[0] == ["path", "label", "prediction", *splits.classes]
    assert str(bad) not in [row[0] for row in rows]
    assert len(rows) == 9
    with Image.open(tmp_path / "report" / "confusion.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400
