"""The methods' recipes: as their programs train them, and under one protocol."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from peclip_fast.config.data import DataConfig
from peclip_fast.config.layers import config_layers, config_names
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.registry import METHODS

DATASETS = ("dfew", "ferv39k", "mafw")
METHODS_OF = {n.partition("/")[0] for n in config_names()} & set(METHODS._modules)
PROTOCOL = sorted(m for m in METHODS_OF if f"{m}/protocol" in config_names())
PUBLISHED = sorted(m for m in METHODS_OF if f"{m}/published" in config_names())
# What a method may have of its own under the protocol.
OWN_TRAIN = {"lr", "optimizer", "weight_decay", "accumulate", "batch_size"}


def parse(*names: str) -> RunConfig:
    return resolve(config_layers(names), [])


def test_every_method_has_one():
    assert set(METHODS._modules) <= {*PROTOCOL, "finecliper"}
    assert {"dfer_clip", "emoclip"} <= set(PUBLISHED)


@pytest.mark.parametrize("method", PROTOCOL)
@pytest.mark.parametrize("dataset", DATASETS)
def test_the_protocol_is_one(dataset, method):
    """It differs between methods in nothing but what they train, and how fast."""
    config, base = parse(dataset, f"{method}/protocol"), parse(dataset, "pe_clip/protocol")
    assert config.model.method == method
    assert config.data == base.data
    own = {name: getattr(base.train, name) for name in OWN_TRAIN}
    assert replace(config.train, **own) == base.train
    shared = ("backbone", "pretrained", "texts")
    for name in shared:
        if name in {f.name for f in fields(config.model)}:
            assert getattr(config.model, name) == getattr(base.model, name), name
    classes = ["happiness", "sadness"]
    if hasattr(config.model, "texts"):
        assert config.model.class_texts(classes) == base.model.class_texts(classes)
    assert (config.train.select, config.train.target) == ("last", "classes")
    assert config.train.batch_size == 8  # more clips for a step are added up
    assert config.data.mix.mixup == config.data.mix.fmix == 0


def test_the_protocol_keeps_the_rest_of_the_dataset():
    for dataset in DATASETS:
        plain, config = parse(dataset), parse(dataset, "pe_clip/protocol")
        mix = replace(plain.data.mix, mixup=0.0, fmix=0.0)
        assert config == replace(plain, data=replace(plain.data, mix=mix))


@pytest.mark.parametrize("method", PROTOCOL)
def test_the_protocol_goes_over_the_demo(method):
    for demo in ("demo", "demo-order"):
        config = parse(demo, f"{method}/protocol")
        assert (config.model.method, config.data.dataset) == (method, demo)


@pytest.mark.parametrize("method", PUBLISHED)
@pytest.mark.parametrize("dataset", DATASETS)
def test_published_recipes_read_the_clips_of_every_dataset(dataset, method):
    config = parse(dataset, f"{method}/published")
    assert (config.model.method, config.data.dataset) == (method, dataset)
    assert config.data.mix.mixup == config.data.mix.fmix == 0
    assert config.model.pretrained == "openai"


def test_dfer_clips_own():
    dfew, ferv39k = (parse(name, "dfer_clip/published") for name in ("dfew", "ferv39k"))
    assert dfew.train == ferv39k.train == TrainConfig(
        optimizer="sgd", epochs=50, warmup_epochs=0, schedule="steps", milestones=[30, 40],
        batch_size=48, lr={"temporal": 1e-2, "prompts": 1e-3, "backbone": 1e-5},
        weight_decay=1e-4, select="best", seed=1,
    )  # fmt: skip
    assert (dfew.data.augment.brightness, dfew.data.augment.rotation) == (0.5, 0)
    assert (ferv39k.data.augment.brightness, ferv39k.data.augment.rotation) == (0, 4)
    mafw = parse("mafw", "dfer_clip/published", "dfer_clip/mafw")
    assert (mafw.data.augment.brightness, mafw.data.augment.rotation) == (0, 0)
    assert mafw.train == dfew.train
    assert (dfew.model.backbone, dfew.model.normalize) == ("ViT-B-32-quickgelu", "none")
    assert (dfew.data.frames, dfew.data.sampling, dfew.data.augment.scale_min) == (
        16, "segments", DataConfig().augment.scale_min
    )  # fmt: skip


def test_emoclips_own():
    config = parse("dfew", "emoclip/published")
    assert config.train == TrainConfig(
        optimizer="sgd", epochs=50, warmup_epochs=0, schedule="steps", milestones=[25],
        batch_size=256, lr={"temporal": 1e-3}, weight_decay=5e-4, select="best",
    )  # fmt: skip
    assert (config.data.frames, config.data.sampling, config.data.stride) == (32, "window", 4)
    assert (config.model.loss, config.model.normalize) == ("batch", "clip")
    layers = config_layers(["mafw", "emoclip/published", "emoclip/zero-shot"])
    captions = resolve(layers, ["--data.descriptions", "captions.jsonl"])
    assert (captions.train.epochs, captions.train.milestones, captions.data.stride) == (30, [15], 2)
    assert captions.train.target == "descriptions"


@pytest.mark.parametrize("name", [n for n in config_names() if n.startswith("demo-peers/")])
def test_the_demos_own_rates(name):
    """Sizes, rates and optimizer only: frames, texts and epochs are those of demo-order."""
    config, base = parse("demo-order", name), parse("demo-order")
    assert config.data == base.data
    own = {"lr": {}, "optimizer": config.train.optimizer}
    assert replace(config.train, **own) == replace(base.train, **own)
    if hasattr(config.model, "texts"):
        assert config.model.texts == base.model.texts
    assert config.model.backbone == "demo"
