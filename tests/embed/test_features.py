"""Features of the test clips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from peclip_fast import InputError, create_model
from peclip_fast.config.data import DataConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.splits import open_splits
from peclip_fast.embed.features import FROZEN, TRAINED, clip_features

CPU = torch.device("cpu")


@pytest.fixture(params=["pe_clip", "finecliper"])
def model(request, tiny_backbone):
    torch.manual_seed(0)
    classes = ("anger", "happiness", "sadness")
    own = {"prompt_depth": 2} if request.param == "pe_clip" else {}
    model = create_model(request.param, tiny_backbone, classes=classes, **own)
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def config(tiny_clips):
    data = DataConfig(dataset="folder", root=tiny_clips, frames=2, num_workers=0)
    return RunConfig(data=data, train=TrainConfig(eval_batch_size=4))


def test_both_models_over_every_clip(model, config):
    records = open_splits(config.data).test
    found = clip_features(model, records, config, CPU)
    assert found.index.tolist() == list(range(9))
    assert found.labels.tolist() == [record.label for record in records]
    assert found.bad == []
    dataset = ClipDataset(records, config.data, model.image_size, train=False)
    frames = torch.stack([dataset.load(i)["frames"] for i in range(9)])
    with torch.no_grad():
        images = model.backbone.encode_image(frames.flatten(0, 1).float() / 255)
        plain = torch.nn.functional.normalize(images.unflatten(0, (9, 2)).mean(1), dim=-1)
        trained = model.eval().encode_clips(frames=frames)
    torch.testing.assert_close(found.features[FROZEN], plain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.features[TRAINED], trained, atol=1e-5, rtol=1e-4)


def test_bad_clips(model, config, tmp_path):
    records = [*open_splits(config.data).test[:3], ClipRecord(tmp_path / "missing.mp4", 0)]
    with pytest.raises(InputError, match=r"missing\.mp4"):
        clip_features(model, records, config, CPU)
    config = replace(config, data=replace(config.data, on_bad_clip="skip"))
    found = clip_features(model, records, config, CPU)
    assert found.index.tolist() == [0, 1, 2]
    assert [clip.clip for clip in found.bad] == [3]
    with pytest.raises(InputError, match=r"none of the 1 clips could be read, as .*missing\.mp4"):
        clip_features(model, records[3:], config, CPU)
