"""The two examples of the documentation, loaded as entry points of other packages are."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_runs import CLASSES

from peclip_fast import InputError, create_model, from_pretrained, registry
from peclip_fast.config.data import DataConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.data.splits import open_splits
from peclip_fast.embed.features import FROZEN, TRAINED, clip_features
from peclip_fast.experiment.contrast import TIME
from peclip_fast.explain.explanation import explain_clip
from peclip_fast.models.backbone import load_backbone

FOLDER = Path(__file__).parent
PLUGINS = ("motion_clip", "json_clips")


def declared(plugin: str) -> list[EntryPoint]:
    """What the package's pyproject.toml says."""
    project = (FOLDER / plugin / "pyproject.toml").read_text()
    found = re.findall(r'\[project\.entry-points\."(.+)"\]\n(\w+) = "(.+)"', project)
    assert len(found) == 1
    return [EntryPoint(name, value, group) for group, name, value in found]


@pytest.fixture
def installed(monkeypatch):
    """Both packages, as if pip had installed them; not imported yet."""
    points = [point for plugin in PLUGINS for point in declared(plugin)]
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    for plugin in PLUGINS:
        monkeypatch.syspath_prepend(FOLDER / plugin)
        monkeypatch.delitem(sys.modules, plugin, raising=False)
    registries = registry.METHODS, registry.CONFIGS, registry.DATASETS
    before = [dict(known._things) for known in registries]
    registry.load_plugins.cache_clear()
    yield
    registry.load_plugins.cache_clear()
    for known, things in zip(registries, before, strict=True):
        known._things = things
    for plugin in PLUGINS:
        sys.modules.pop(plugin, None)


@pytest.fixture
def model(installed, tiny_backbone):
    torch.manual_seed(0)
    return create_model("motion_clip", tiny_backbone, classes=CLASSES, hidden=8)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_examples_are_short(plugin):
    assert len((FOLDER / plugin / f"{plugin}.py").read_text().splitlines()) < 60


def test_they_are_known_by_name(installed):
    assert "motion_clip" in registry.METHODS.names()
    assert registry.CONFIGS["motion_clip"].title == "MotionCLIP"
    assert registry.DATASETS["json-clips"].title == "Clips of a JSON file"
    assert "motion_clip" in sys.modules


def test_without_the_package_the_name_is_refused(tiny_backbone):
    with pytest.raises(InputError, match=r"model\.method=motion_clip: expected one of pe_clip, fi"):
        create_model("motion_clip", tiny_backbone, classes=CLASSES)


def test_options_are_checked(installed, tiny_backbone):
    for options, message in [
        ({"hidden": 0}, "hidden=0: expected a whole number of at least 1"),
        ({"hiden": 4}, "hiden: not an option of motion_clip.*did you mean hidden"),
        ({"reduction": 4}, "reduction: not an option of motion_clip"),
        ({"normalize": "CLIP"}, "normalize='CLIP': expected one of none, clip"),
    ]:
        with pytest.raises(InputError, match=message):
            create_model("motion_clip", tiny_backbone, classes=CLASSES, **options)


def test_the_method_starts_from_clip_learns_and_comes_back(model, tiny_backbone, tmp_path):
    frames, labels = torch.rand(6, 4, 3, 32, 32), torch.arange(6) % 3
    with torch.no_grad():
        clip = load_backbone(tiny_backbone)
        images = clip.encode_image(frames.flatten(0, 1)).view(6, 4, -1).mean(1)
        torch.testing.assert_close(
            model.encode_clips(frames), F.normalize(images, dim=-1), atol=1e-5, rtol=0
        )
    groups = model.parameter_groups()
    assert {name: len(group) for name, group in groups.items()} == {"motion": 12}
    assert model.trained_counts() == {"motion": 3 * (2 * 8 * 96 + 8 + 96)}
    optimizer = torch.optim.AdamW(groups["motion"], lr=3e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(frames), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    model.eval().save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))
        assert (model(frames) - model(frames.flip(1))).abs().max() > 1e-2
    assert TIME.among(again.config)
    explanation = explain_clip(model, frames[0])
    assert [stage.name for stage in explanation.stages] == ["frozen CLIP", "full model"]


def test_the_dataset_goes_through_a_plugin_method(model, tiny_clips, tmp_path):
    """Its clips are the class folders', by a list."""
    listed = {
        str(path): {"label": path.parent.name, "split": path.parts[-3]}
        for path in sorted(tiny_clips.glob("*/*/*"))
    }
    (tmp_path / "clips.json").write_text(json.dumps(listed))
    data = DataConfig(dataset="json-clips", root=tmp_path, frames=2, num_workers=0)
    splits = open_splits(data)
    assert splits.classes == tuple(sorted(CLASSES))
    assert (len(splits.train), len(splits.test)) == (15, 9)
    assert {record.path.parent.name: record.label for record in splits.test} == {
        name: i for i, name in enumerate(splits.classes)
    }
    config = RunConfig(model=model.config, data=data, train=TrainConfig(eval_batch_size=4))
    assert config.title == "Clips of a JSON file"
    assert config.learning_rates == {"motion": 1e-3}
    found = clip_features(model, splits.test, config, torch.device("cpu"))
    assert found.labels.tolist() == [record.label for record in splits.test]
    torch.testing.assert_close(found.features[FROZEN], found.features[TRAINED])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "clips.json: no such file"),
        ("[1]", 'expected "path": {"label"'),
        ('{"a.mp4": {"label": "x"}}', 'expected "path": {"label"'),
        ('{"a.mp4": {"label": "x", "split": "val"}}', "a.mp4: split 'val', expected train or test"),
    ],
)
def test_lists_that_can_not_be_read(installed, tmp_path, content, message):
    if content is not None:
        (tmp_path / "clips.json").write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        open_splits(DataConfig(dataset="json-clips", root=tmp_path))
