"""Which operators a model calls: as a real forward pass does, whatever the method is."""

from __future__ import annotations

import json

import pytest
import torch

from peclip_fast import create_model, ops
from peclip_fast.engine.kernels.calls import CLIPS, _recorded, model_calls
from peclip_fast.ops.verdicts.operands import Form, both_ways, draw
from peclip_fast.ops.verdicts.verdict import OperatorCall
from peclip_fast.registry import CONFIGS

CPU = torch.device("cpu")


@pytest.mark.parametrize("method", sorted(CONFIGS.built_in()))
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_every_method(tiny_backbone: str, method: str, autocast: torch.dtype | None) -> None:
    depth = {"prompt_depth": 3} if method == "pe_clip" else {}
    config = CONFIGS[method](backbone=tiny_backbone, **depth)
    calls = model_calls(config, 3, autocast, CPU)
    assert {call.op for call in calls} >= {"linear", "attention"}
    expected = "float32" if autocast is None else "bfloat16"
    others = ("layer_norm", "pixels")  # on a CPU frames stay float32 under autocast
    assert {call.dtype for call in calls if call.op not in others} == {expected}
    assert {call.dtype for call in calls if call.op == "pixels"} == {"float32"}
    norms = {call.dtype for call in calls if call.op == "layer_norm"}
    assert norms <= {expected, "float32"}, "the first norm reads embeddings, which are float32"
    assert len({call.text for call in calls}) == len(calls)
    for call in calls:
        assert call.kind("cpu").op == call.op


def test_they_are_those_of_a_forward_pass(tiny_backbone: str) -> None:
    """But for the class texts, which are other ones."""
    model = create_model(backbone=tiny_backbone, classes=("happiness", "anger"), prompt_depth=3)
    found = model_calls(model.config, 3, None, CPU)
    size = model.image_size
    with _recorded() as calls:
        frames = torch.zeros(CLIPS, 3, 3, size, size, dtype=torch.uint8)
        model.train().encode_clips(frames)
    of_clips = {call.text for call in calls.values()}
    assert of_clips <= {call.text for call in found}
    (tda, *_) = [call for call in found if call.op == "temporal_adapter"]
    assert tda.options == {"scaling": "after_up"}
    assert (tda.frames, tda.variant, tda.trained) == (3, "after_up", list(tda.tensors))
    linear = next(call for call in found if call.op == "linear")
    assert linear.trained == ["x"], "the backbone is frozen"


@pytest.mark.parametrize("normalize", ["none", "clip"])
def test_frames_by_themselves_and_mixed(tiny_backbone: str, normalize: str) -> None:
    """As inference has them, and as training mixes them in both ways; all are of one kind."""
    config = CONFIGS["pe_clip"](backbone=tiny_backbone, prompt_depth=3, normalize=normalize)
    calls = [c for c in model_calls(config, 4, torch.bfloat16, CPU) if c.op == "pixels"]
    constants = {"mean", "std"} if normalize == "clip" else set()
    assert [set(c.tensors) - {"frames"} - constants for c in calls] == [
        set(), {"partners"}, {"partners", "keep"}
    ]  # fmt: skip
    for call in calls:
        assert call.tensors["frames"][:3] == [CLIPS, 4, 3]
        assert call.dtypes["frames"] == "uint8"
        assert set(call.dtypes) == set(call.tensors)
        assert call.options["dtype"] == "float32"
        assert call.trained == []
        assert OperatorCall(**json.loads(call.text)) == call
        both_ways(call, "reference", draw(call, Form(torch.bfloat16), CPU, 1))
    assert len({call.kind("cuda") for call in calls}) == 1


def test_only_what_auto_chooses(tiny_backbone: str) -> None:
    def asked(backend: str) -> set[str]:
        config = CONFIGS["pe_clip"](backbone=tiny_backbone, backend=backend, prompt_depth=3)
        return {call.op for call in model_calls(config, 3, None, CPU)}

    everything = asked("auto")
    assert asked("reference") == set()
    assert asked("cuda") == everything - {"temporal_adapter"}


def test_the_operators_are_what_they_were(tiny_backbone: str) -> None:
    before = {name: getattr(ops, name) for name in ops.__all__}
    with pytest.raises(RuntimeError, match="stop"), _recorded():
        raise RuntimeError("stop")
    assert {name: getattr(ops, name) for name in ops.__all__} == before
