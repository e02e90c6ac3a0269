"""Every row of the paper's Tables 5 to 10: its configuration, its parameters, its training."""

from __future__ import annotations

import copy
import functools
from dataclasses import asdict

import open_clip
import pytest
import torch
import torch.nn.functional as F

from peclip_fast import create_model
from peclip_fast.config.layers import config_layers, config_names, config_path, read_yaml
from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import differences
from peclip_fast.data.datasets.dfew import CLASSES
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.splits import open_splits
from peclip_fast.demo import render
from peclip_fast.experiment.published import read_table
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.methods.pe_clip import PECLIP

TABLES = [read_table(f"pe-clip-table{number}") for number in range(5, 11)]
ROWS = {row.config: row for table in TABLES for row in table.rows}


@functools.cache
def configure(*names, options=()):
    return resolve(config_layers(names), options)


# The built-in data on which a table's rows run.
DEMOS = {f"table{number}": "demo-order" for number in (6, 7, 8, 9)}
DEMOS |= {"table5": "demo", "table10": "demo"}

# Rows that are the same model under several names train once.
MODELS = {name: PECLIPConfig(**read_yaml(config_path(name))["model"]) for name in ROWS}
DISTINCT = {model: name for name, model in reversed(MODELS.items())}


@pytest.fixture(scope="module")
def shapes():
    """ViT-B/16 without memory."""
    with torch.device("meta"):
        return load_backbone("ViT-B-16-quickgelu")


def trained(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_rows_and_configurations_are_the_same():
    assert ROWS.keys() == {name for name in config_names() if name.startswith("table")}


@pytest.mark.parametrize("name", ROWS)
def test_parameters_are_the_published_ones(name, shapes):
    with torch.device("meta"):
        model = PECLIP(configure("dfew", name).model, CLASSES, shapes)
    printed = ROWS[name].parameters
    if name.startswith("table10/"):
        assert printed is None
    else:
        assert round(trained(model) / 1e6, 1 if printed < 1 else 0) == printed


def test_the_whole_method_is_one_configuration_in_all_tables():
    recipe = configure("dfew")
    whole = [n for n, row in ROWS.items() if row.scores("dfew").war == 75.35]
    assert len(whole) == 6
    for name in whole:
        assert differences(recipe, configure("dfew", name)) == []
    assert configure("dfew", "table5/adapters") == configure("dfew", "table10/class-names")
    assert len(DISTINCT) == len(ROWS) - 6


def test_the_adapters_of_table_6_are_those_of_its_columns():
    for row in read_table("pe-clip-table6").rows:
        model = asdict(configure("dfew", row.config).model)
        parts = ("text_adapter", "shared_text", "shared_vision", "temporal")
        assert {part: model[part] for part in parts} == {part: row.cells[part] for part in parts}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_holds_options_of_the_model_alone(name):
    assert read_yaml(config_path(name)).keys() == {"model"}


def test_rows_go_over_other_recipes():
    recipe, changed = configure("demo"), configure("demo", "table6/no-tda")
    assert [str(d) for d in differences(recipe, changed)] == ["model.temporal=True, not False"]
    assert configure("ferv39k", "table8/lstm").train.epochs == 20


def train_two_steps(model, frames):
    """Both steps move every trained tensor, and no frozen one gets a gradient."""
    with torch.no_grad():
        for name, parameter in model.trained_parameters().items():
            if name.endswith("scale.bias"):  # at random weights the ReLU may shut a block's TDA
                parameter.fill_(2.0)
    groups = model.parameter_groups().values()
    optimizer = torch.optim.AdamW([p for group in groups for p in group], lr=1e-3)
    before = {n: p.detach().clone() for n, p in model.trained_parameters().items()}
    labels = torch.arange(len(frames)) % len(model.classes)
    for _ in range(2):
        loss = F.cross_entropy(model(frames), labels)
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The TDA starts at zero: what is in front of its up-projection gets its gradient second.
    still = [n for n, p in model.trained_parameters().items() if not p.grad.any()]
    assert still == [], "these trained tensors got no gradient"
    assert all(not torch.equal(p, before[n]) for n, p in model.trained_parameters().items())
    assert all(p.grad is None for p in model.backbone.parameters())


@pytest.fixture(scope="module")
def short_vit_b_16():
    """ViT-B/16 with three blocks a side, on small frames, with random weights."""
    config = copy.deepcopy(open_clip.get_model_config("ViT-B-16-quickgelu"))
    config["vision_cfg"] |= {"layers": 3, "image_size": 32}
    config["text_cfg"] |= {"layers": 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return open_clip.CLIP(**config).eval().requires_grad_(False)


@pytest.mark.parametrize("name", DISTINCT.values())
def test_every_row_trains(name, short_vit_b_16):
    config = configure("dfew", name, options=("--model.prompt_depth=3",)).model
    torch.manual_seed(0)
    train_two_steps(PECLIP(config, CLASSES, short_vit_b_16), torch.rand(2, 3, 3, 32, 32))


@pytest.fixture(scope="module")
def demo_batches(tmp_path_factory):
    """Of each demo, the classes and a clip of each: frames as its recipe reads them to train."""
    batches = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "IDENTITIES", {"train": range(1), "test": range(1000, 1001)})
        for recipe in ("demo", "demo-order"):
            root = tmp_path_factory.mktemp("demos") / recipe
            config = configure(recipe, options=("--data.root", str(root)))
            splits = open_splits(config.data)
            clips = ClipDataset(splits.train, config.data, 48, train=True)
            batches[recipe] = splits.classes, torch.stack([clip["frames"] for clip in clips])
    return batches


@pytest.mark.parametrize("name", ROWS)
def test_every_row_trains_on_the_demo(name, demo_batches):
    """Rows that name texts, on the seven expressions, which have such; the others on the order."""
    recipe = DEMOS[name.split("/")[0]]
    classes, frames = demo_batches[recipe]
    torch.manual_seed(0)
    model = create_model(classes=classes, **asdict(configure(recipe, name).model))
    assert model.config.backbone == "demo"
    train_two_steps(model, frames)


@pytest.mark.slow
def test_the_whole_method_trains_on_vit_b_16():
    """All blocks and frames of full size; what a row changes is the same in each block."""
    torch.manual_seed(0)
    backbone = load_backbone("ViT-B-16-quickgelu")
    model = PECLIP(configure("dfew", "table5/adapters").model, CLASSES, backbone)
    train_two_steps(model, torch.rand(1, 2, 3, 224, 224))
