"""Groups of parameters with learning rates of their own, of any number and name."""

from __future__ import annotations

import csv
import io

import pytest
from helpers.tiny_runs import write_config
from PIL import Image

from peclip_fast import InputError, create_model
from peclip_fast.commands.train import main
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.engine.optimizer import make_optimizer, set_rates
from peclip_fast.models.methods.pe_clip import PECLIP

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
