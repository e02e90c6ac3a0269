"""A batch that doesn't fit, in parts whose gradients are added up."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_runs import write_config
from torch import Tensor

from peclip_fast.commands.train import main
from peclip_fast.engine import trainer


class Enough(BaseException):
    """Ends a run at its first optimizer step."""


@pytest.fixture
def first_gradients(tiny_backbone, tiny_clips, tmp_path, monkeypatch):
    """Gives the gradients that the first optimizer step of a run takes."""

    def run(name: str, **train: object) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def stop(optimizer: torch.optim.Optimizer, *_: object) -> None:
            for group in optimizer.param_groups:
                gradients = {f"{group['name']}{i}": p.grad for i, p in enumerate(group["params"])}
                seen.update({name: gradient.clone() for name, gradient in gradients.items()})
            raise Enough

        config = write_config(tmp_path / f"{name}.yaml", tiny_backbone, tiny_clips, **train)
        argv = ["--config", str(config), "--output", str(tmp_path / name)]
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "set_rates", stop)  # called before each step
            with pytest.raises(Enough):
                main([*argv, "--data.mix.mixup", "0", "--data.mix.fmix", "0"])
        return seen

    return run


@pytest.mark.parametrize("recompute", [0, 2])
def test_two_accumulated_batches_of_4_are_one_of_8(first_gradients, recompute):
    whole = first_gradients("whole", batch_size=8)
    parts = first_gradients("parts", batch_size=4, accumulate=2, recompute=recompute)
    assert parts.keys() == whole.keys()
    for name, gradient in whole.items():
        assert (parts[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    assert any(gradient.any() for gradient in whole.values())
