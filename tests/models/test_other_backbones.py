"""PE-CLIP on other backbones: shapes, what is trained, gradients, and saved models."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from copy import deepcopy

import open_clip.factory
import open_clip.timm_model
import pytest
import torch
import torch.nn.functional as F
from helpers.models.small_towers import BLOCKS, SIZE, WordTokenizer, save_small

from peclip_fast import create_model, from_pretrained
from peclip_fast.models.ablation import with_parts

CLASSES = ("happiness", "sadness", "anger")
SMALL = ("clip", "eva02", "siglip", "pe-core", "clipa")
WHOLE = "ViT-B-32"
CUT = ("ViT-L-14", "EVA02-B-16", "ViT-B-16-SigLIP")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: save_small(kind, tmp_path_factory.mktemp(kind)) for kind in SMALL}


def tokenizer_of(backbone):
    return WordTokenizer() if "SigLIP" in backbone else None  # the backbone's own


def make(backbone, **config):
    """A model whose every path counts: up-projections start at zero, ReLU may put scales there."""
    torch.manual_seed(0)
    config = {"classes": CLASSES, "texts": ["a smile", "a tear", "a frown"], **config}
    model = create_model(backbone=backbone, tokenizer=tokenizer_of(backbone), **config)
    with torch.no_grad():
        for name, parameter in model.trained_parameters().items():
            parameter.add_(0.05 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):
                parameter.fill_(3.0)
    return model


@contextmanager
def few_blocks(name):
    """open_clip's model of that name, in all its widths, with three blocks in each tower."""
    config = deepcopy(open_clip.get_model_config(name))
    for tower in ("vision_cfg", "text_cfg"):
        config[tower]["layers"] = BLOCKS
    build = open_clip.timm_model.timm.create_model

    def shallow(tower, **given):
        same = tower == config["vision_cfg"].get("timm_model_name")
        return build(tower, **given, **({"depth": BLOCKS} if same else {}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        patch.setattr(open_clip.timm_model.timm, "create_model", shallow)
        yield


@pytest.fixture(scope="module", params=[*SMALL, pytest.param(WHOLE, marks=pytest.mark.slow), *CUT])
def model(request, folders):
    """The methods' own depth and reduction for the whole one."""
    if request.param == WHOLE:
        yield make(WHOLE)
        return
    with few_blocks(request.param) if request.param in CUT else nullcontext():
        model = make(folders.get(request.param, request.param), prompt_depth=3, reduction=16)
        assert len(model.temporal) == BLOCKS
        yield model


@pytest.fixture(scope="module")
def frames(model):
    return torch.rand(1 if model.image_size > SIZE else 2, 2, 3, model.image_size, model.image_size)


def test_shapes_and_freezing_and_gradients_of_a_step(model, frames):
    frozen = {n: t.clone() for n, t in model.backbone.state_dict().items()}
    trained = model.trained_parameters()
    before = {n: p.detach().clone() for n, p in trained.items()}
    asked = {n for n, p in model.named_parameters() if p.requires_grad}
    assert asked == set(trained), "the method's tensors are trained, and no other"
    logits = model(frames)
    assert logits.shape == (len(frames), 3)
    assert logits.abs().max() <= 100 + 1e-3
    labels = torch.arange(len(frames))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    F.cross_entropy(logits, labels).backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    wrong = [n for n, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]
    silent = [n for n, p in trained.items() if n not in wrong and not p.grad.any()]
    assert (wrong, silent) == ([], [])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    assert all(not torch.equal(p, before[n]) for n, p in trained.items())
    state = model.backbone.state_dict()
    assert all(torch.equal(state[n], t) for n, t in frozen.items())
    assert not model.backbone.training
    model.load_trained_state(before)


def test_without_its_parts_it_is_the_backbone(model, frames):
    """As with_parts leaves it, for the real widths too."""
    frozen = with_parts(model, ())
    with torch.no_grad():
        images = model.backbone.encode_image(frames.flatten(0, 1))
        expected = F.normalize(images.unflatten(0, frames.shape[:2]).mean(1), dim=-1)
        torch.testing.assert_close(frozen.encode_clips(frames), expected, atol=2e-5, rtol=0)
        tokens, tower = frozen.class_tokens, frozen.text
        padded = F.pad(tokens, (0, tower.context_length - tokens.shape[1]))
        expected = model.backbone.encode_text(padded, normalize=True)
        torch.testing.assert_close(frozen.encode_classes(), expected, atol=2e-5, rtol=0)


def test_a_saved_model_comes_back_bitwise(model, frames, tmp_path):
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path, tokenizer=tokenizer_of(model.config.backbone))
    state = again.trained_state()
    assert all(torch.equal(state[n], t) for n, t in model.trained_state().items())
    model.eval()
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))


@pytest.mark.parametrize("kind", SMALL)
class TestSmall:
    """What takes many passes, on the small ones."""

    def test_gradients_against_fp64(self, folders, kind):
        """Those of fp32 against fp64's, and fp64's against differences of the loss."""
        model = make(folders[kind], prompt_depth=3, reduction=16, backend="reference")
        double = make(folders[kind], prompt_depth=3, reduction=16, backend="reference").double()
        frames, labels = torch.rand(2, 3, 3, SIZE, SIZE), torch.tensor([2, 0])

        def loss(model, frames):
            return F.cross_entropy(model(frames) / 10, labels)

        loss(model, frames).backward()
        loss(double, frames.double()).backward()
        exact = {n: p.grad for n, p in double.trained_parameters().items()}
        for name, parameter in model.trained_parameters().items():
            error = (parameter.grad - exact[name]).norm() / exact[name].norm()
            assert error < 1e-3, f"{name}: {error}"
        step = 1e-5
        for part, module in double.parts().items():
            shifts = {p: torch.randn_like(p) for p in module.parameters()}
            slope = sum((p.grad * shift).sum() for p, shift in shifts.items())
            ends = []
            with torch.no_grad():
                for sign in (1, -2, 1):
                    for p, shift in shifts.items():
                        p.add_(sign * step * shift)
                    ends.append(loss(double, frames.double()))
            found = (ends[0] - ends[1]) / (2 * step)
            torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-7, msg=part)

    def test_a_clip_does_not_see_its_neighbours(self, folders, kind):
        model = make(folders[kind], prompt_depth=3).eval()
        frames = torch.rand(2, 4, 3, SIZE, SIZE)
        with torch.no_grad():
            both, alone = model(frames), model(frames[1:])
            torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=0)
            assert (model(frames.flip(1)) - both).abs().max() > 1e-3, "the order of frames matters"

    def test_autocast_stays_close(self, folders, kind):
        model = make(folders[kind], prompt_depth=2).eval()
        frames = torch.rand(2, 2, 3, SIZE, SIZE)
        with torch.no_grad():
            expected = model(frames)
            with torch.autocast("cpu", torch.bfloat16):
                found = model(frames)
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 2  # of 100: the cosine to about two places


def test_learned_context_stands_in_front_where_texts_have_no_start(folders):
    """Of all 64 positions the text has those behind the context; padding stays in."""
    model = make(folders["siglip"], prompt_depth=2, context_tokens=3)
    assert model.class_tokens.shape == (3, 61)
    tower, context = model.text, model.prompts.for_text()[0]
    x = tower.embed(model.class_tokens, context)
    position = model.backbone.text.positional_embedding
    torch.testing.assert_close(x[:, :3] - position[:3], context.expand(3, -1, -1))
    assert tower.ends(model.class_tokens, 3).tolist() == [63] * 3
