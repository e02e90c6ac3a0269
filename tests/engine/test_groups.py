"""Groups of parameters with learning rates of their own, of any number and name."""

from __future__ import annotations

import csv
import io

import pytest
import yaml
from helpers.tiny_runs import write_config
from PIL import Image

from peclip_fast import InputError, create_model
from peclip_fast.commands.train import main
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.engine.optimizer import make_optimizer, set_rates
from peclip_fast.models.methods.pe_clip import PECLIP
from peclip_fast.registry import CONFIGS

RATES = {"text side": 1e-3, "frames": 2e-3, "time": 3e-4}


@pytest.fixture
def three_groups(monkeypatch):
    """Groups that no method has."""

    def parameter_groups(model):
        groups = {name: [] for name in [*RATES, "none"]}
        for part, module in model.parts().items():
            name = {"shared_vision": "frames", "temporal": "time"}.get(part, "text side")
            groups[name].extend(module.parameters())
        return groups

    monkeypatch.setattr(PECLIP, "parameter_groups", parameter_groups)
    monkeypatch.setattr(RunConfig, "learning_rates", RATES)


@pytest.fixture
def model(tiny_backbone):
    return create_model(backbone=tiny_backbone, classes=("anger", "fear"), prompt_depth=2)


def test_a_run_tells_the_rate_of_each(three_groups, tiny_backbone, tiny_clips, tmp_path):
    config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips)
    assert main(["--config", str(config), "--output", str(tmp_path / "run")]) == 0
    with (tmp_path / "run" / "metrics.csv").open() as file:
        first, last = csv.DictReader(file)
    columns = [name for name in first if name.startswith("lr_")]
    assert columns == ["lr_text side", "lr_frames", "lr_time"]  # "none" has no parameter
    assert [float(first[name]) for name in columns] == list(RATES.values())  # the warm-up's end
    shares = [float(last[name]) / float(first[name]) for name in columns]
    assert shares == pytest.approx(shares[:1] * 3)
    assert 0 < shares[0] < 1
    with Image.open(io.BytesIO((tmp_path / "run" / "curves.png").read_bytes())) as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd"}, {"clip_norm": 1.0}])
def test_every_trained_parameter_is_in_its_group(three_groups, model, options):
    optimizer = make_optimizer(model, RunConfig(train=TrainConfig(**options)))
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == RATES
    placed = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in placed} == {id(p) for p in model.trained_parameters().values()}
    assert all(group["fused"] for group in optimizer.param_groups)
    set_rates(optimizer, RATES, 0.5)
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == {
        name: rate / 2 for name, rate in RATES.items()
    }


def test_fp16_is_clipped_before_the_step(model):
    """A fused optimizer would take the scale off the gradients itself, after that."""
    config = RunConfig(train=TrainConfig(precision="fp16", clip_norm=1.0))
    assert not any(group["fused"] for group in make_optimizer(model, config).param_groups)


def test_a_group_without_a_rate(three_groups, model, monkeypatch):
    monkeypatch.setattr(RunConfig, "learning_rates", {"frames": 1e-3})
    with pytest.raises(InputError, match="expected one for text side of PE-CLIP, got those of fr"):
        make_optimizer(model, RunConfig())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("method", "left"),
    [
        ("aim", {"backbone.visual.ln_post.weight", "backbone.visual.ln_post.bias"}),
        (
            "st_adapter",
            {"head.bias"}
            | {f"before_mlp.{i}.{n}.bias" for i in range(3) for n in ("down", "conv", "up")},
        ),
        ("clip_lora", set()),
    ],
)
def test_weight_decay_leaves_alone_what_the_method_says(tiny_backbone, optimizer, method, left):
    config = RunConfig(CONFIGS[method](method=method), train=TrainConfig(optimizer=optimizer))
    model = create_model(method, tiny_backbone, classes=("anger", "fear"), **options(method))
    groups = make_optimizer(model, config).param_groups
    parameters = model.trained_parameters()
    undecayed = {id(p) for g in groups if g["weight_decay"] == 0 for p in g["params"]}
    assert {name for name, p in parameters.items() if id(p) in undecayed} == left
    assert {g["weight_decay"] for g in groups} == ({0.01, 0.0} if left else {0.01})
    everything = [id(p) for g in groups for p in g["params"]]
    assert sorted(everything) == sorted(map(id, parameters.values()))
    assert {g["name"] for g in groups} == set(config.learning_rates)


def options(method: str) -> dict[str, object]:
    """Texts that any classes have."""
    return {"texts": "class_names"} if method == "clip_lora" else {}


def test_a_group_of_two_decays_has_one_rate_in_the_history(tiny_backbone, tiny_clips, tmp_path):
    config = {"head_dropout": 0.0, "hidden": 8}
    path = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips, lr={"head": 1e-2})
    content = yaml.safe_load(path.read_text())
    content["model"] = {"method": "st_adapter", "backbone": tiny_backbone, **config}
    path.write_text(yaml.safe_dump(content))
    assert main(["--config", str(path), "--output", str(tmp_path / "run")]) == 0
    with (tmp_path / "run" / "metrics.csv").open() as file:
        columns = next(csv.reader(file))
    assert [name for name in columns if name.startswith("lr_")] == ["lr_adapters", "lr_head"]
