from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.config.data import MixConfig
from peclip_fast.data.transforms.mixing import (
    draw_mixing,
    fmix_mask,
    low_frequency_noise,
    mix_targets,
)
from peclip_fast.ops.pixels import mixed as mixed_frames

ONLY_MIXUP = MixConfig(mixup=1.0, fmix=0.0)
ONLY_FMIX = MixConfig(mixup=0.0, fmix=1.0)


def batch(clips: int = 4, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(clips, 3, 3, size, size, generator=generator), torch.eye(clips, 7)


def mix_batch(
    frames: torch.Tensor, targets: torch.Tensor, config: MixConfig, **draw: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and targets, as a step of training has them."""
    height, width = frames.shape[-2:]
    mixing = draw_mixing(len(frames), (height, width), config, **draw)
    if mixing is None:
        return frames, targets
    mixing = mixing.to(frames.device)
    return mixed_frames(frames, *mixing), mix_targets(targets, mixing)


@pytest.mark.parametrize("config", [ONLY_MIXUP, ONLY_FMIX])
def test_no_copy_to_a_gpu_waits(config: MixConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """All copies are from pinned memory and don't block."""
    pinned: list[int] = []
    copies = []

    def pin(t: torch.Tensor) -> torch.Tensor:
        pinned.append(id(t))
        return t

    def to(t: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        copies.append((id(t) in pinned, non_blocking))
        return torch.empty_like(t, device=device)

    frames, targets = (t.to("meta") for t in batch())
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    mixed, _ = mix_batch(frames, targets, config, seed=0, step=0)
    assert mixed.shape == frames.shape
    assert copies == [(True, True)] * (1 if config is ONLY_MIXUP else 2)


def test_what_is_drawn_never_changes() -> None:
    """A run that is resumed with a newer version mixes as it did."""
    drawn = [draw_mixing(4, (8, 8), MixConfig(), seed=1, step=step) for step in (0, 1, 10, 11)]
    found = [m and (m.partners.tolist(), m.share, m.keep is not None) for m in drawn]
    assert found[:3] == [([3, 0, 1, 2], 0.421875, True), ([1, 3, 0, 2], 0.3, False), None]
    assert found[3] == ([3, 1, 0, 2], pytest.approx(0.5210482181590637, rel=1e-12), False)
    assert drawn[0] is not None
    assert drawn[0].keep is not None
    assert drawn[0].keep.sum() == 27


def test_each_kind_has_its_probability() -> None:
    frames, targets = torch.arange(6.0).view(6, 1, 1, 1, 1).expand(6, 1, 3, 8, 8), torch.eye(6)
    kinds = {"none": 0, "mixup": 0, "fmix": 0}
    count = 3000
    for step in range(count):
        mixed, soft = mix_batch(frames, targets, MixConfig(), seed=1, step=step)
        if mixed is frames:
            assert soft is targets
            kinds["none"] += 1
        else:
            flat = (mixed == mixed[..., :1, :1]).all() and not torch.equal(mixed, mixed.round())
            kinds["mixup" if flat else "fmix"] += 1
    assert kinds["none"] / count == pytest.approx(0.3, abs=0.03)
    # A Mixup whose permutation is the identity looks like an FMix: 1 in 720.
    assert kinds["mixup"] / count == pytest.approx(0.4, abs=0.03)
    assert kinds["fmix"] / count == pytest.approx(0.3, abs=0.03)


def test_mixup_mixes_frames_as_targets() -> None:
    frames, targets = batch()
    for step in range(20):
        mixed, soft = mix_batch(frames, targets, ONLY_MIXUP, seed=0, step=step)
        assert soft.sum(1).allclose(torch.ones(4))
        weights = soft[:, :4]
        assert torch.allclose(mixed, torch.einsum("ij,jtchw->itchw", weights, frames), atol=1e-6)


shares = st.floats(0, 1)


@given(
    clips=st.integers(0, 6), height=st.integers(2, 24), width=st.integers(2, 24), mixup=shares,
    fmix=shares, low=shares, high=shares, seed=st.integers(0, 2**31), step=st.integers(0, 10**6),
    rank=st.integers(0, 63),
)  # fmt: skip
def test_targets_are_shares_and_frames_lie_between(
    clips: int, height: int, width: int, mixup: float, fmix: float, low: float, high: float,
    seed: int, step: int, rank: int,
) -> None:  # fmt: skip
    """Of any batch; the batch itself stays, and the same numbers draw the same."""
    config = MixConfig(mixup, 0.4, min(low, high), max(low, high), fmix * (1 - mixup))
    frames = torch.rand(clips, 2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    targets, before = torch.eye(clips, 7), frames.clone()
    mixed, soft = mix_batch(frames, targets, config, seed=seed, step=step, rank=rank)
    again = mix_batch(frames, targets, config, seed=seed, step=step, rank=rank)
    assert torch.equal(mixed, again[0])
    assert torch.equal(soft, again[1])
    assert torch.equal(frames, before)
    assert mixed.shape == frames.shape
    assert soft.shape == targets.shape
    assert ((soft >= 0) & (soft <= 1)).all()
    assert torch.allclose(soft.sum(1), torch.ones(clips))
    if clips:
        assert (mixed >= frames.amin(0) - 1e-6).all()
        assert (mixed <= frames.amax(0) + 1e-6).all()
        # Every clip goes on with its own share, and the rest of it with one other.
        assert torch.allclose(soft.sum(0), targets.sum(0), atol=1e-6)


def test_lambda_of_mixup_is_a_clipped_beta() -> None:
    _, targets = batch(8)
    frames = torch.zeros(8, 1, 3, 1, 1)
    shares = []
    for step in range(3000):
        _, soft = mix_batch(frames, targets.new_tensor(np.eye(8)), ONLY_MIXUP, seed=0, step=step)
        own = soft.diagonal()
        shares += own[own < 1][:1].tolist()
    drawn = np.clip(np.random.default_rng(0).beta(0.4, 0.4, 200_000), 0.3, 0.7)
    assert min(shares) == pytest.approx(0.3)
    assert max(shares) == pytest.approx(0.7)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    assert np.std(shares) == pytest.approx(drawn.std(), abs=0.01)
    assert np.mean(np.array(shares) <= 0.3001) == pytest.approx(np.mean(drawn <= 0.3), abs=0.03)


def test_fmix_takes_each_pixel_from_one_of_two_clips() -> None:
    frames, targets = batch(size=24)
    for step in range(20):
        mixed, soft = mix_batch(frames, targets, ONLY_FMIX, seed=0, step=step)
        partners = [
            int((row - row.new_tensor(np.eye(7)[i])).argmax()) for i, row in enumerate(soft)
        ]
        own = mixed == frames
        for clip, partner in enumerate(partners):
            if soft[clip, clip] == 1:
                continue
            assert (own[clip] | (mixed[clip] == frames[partner])).all()
            # One mask for all frames and colours, whose mean is the weight, exactly.
            mask = own[clip, 0, 0]
            assert (own[clip] == mask).all()
            assert mask.float().mean().item() == pytest.approx(soft[clip, clip].item(), abs=1e-6)


def test_batch_shares_one_mask() -> None:
    frames = torch.arange(5.0).view(5, 1, 1, 1, 1).expand(5, 2, 3, 24, 24).contiguous()
    mixed, soft = mix_batch(frames, torch.eye(5), ONLY_FMIX, seed=0, step=3)
    own = (mixed == frames)[:, 0, 0]
    moved = soft.diagonal() < 1
    assert moved.sum() >= 2
    assert (own[moved] == own[moved][0]).all()


def test_draws_are_a_function_of_seed_step_and_rank() -> None:
    frames, targets = batch()

    def mixed(**draw: int) -> torch.Tensor:
        return mix_batch(frames, targets, ONLY_MIXUP, **draw)[0]

    torch.manual_seed(1)
    first = mixed(seed=3, step=5)
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(first, mixed(seed=3, step=5))
    assert not torch.equal(first, mixed(seed=4, step=5))
    assert not torch.equal(first, mixed(seed=3, step=6))
    assert not torch.equal(first, mixed(seed=3, step=5, rank=1))


@pytest.mark.parametrize("config", [ONLY_MIXUP, ONLY_FMIX])
@pytest.mark.parametrize("clips", [0, 1])
def test_tiny_batches(config: MixConfig, clips: int) -> None:
    frames, targets = batch(4)
    mixed, soft = mix_batch(frames[:clips], targets[:clips], config, seed=0, step=0)
    assert torch.allclose(mixed, frames[:clips])
    assert torch.allclose(soft, targets[:clips])


@pytest.mark.parametrize("share", [0.0, 0.137, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(224, 224), (17, 30)])
def test_mask_has_the_asked_mean(share: float, shape: tuple[int, int]) -> None:
    mask = fmix_mask(shape, share, 3.0, np.random.default_rng(0))
    assert mask.shape == shape
    assert mask.sum() == round(share * mask.size)


def test_lambda_of_fmix_is_uniform() -> None:
    frames, targets = torch.zeros(2, 1, 3, 16, 16), torch.eye(2)
    soft = [mix_batch(frames, targets, ONLY_FMIX, seed=0, step=s)[1][0, 0] for s in range(2000)]
    shares = np.array([s.item() for s in soft if s < 1])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.std() == pytest.approx(12**-0.5, abs=0.02)


@pytest.mark.parametrize("decay", [1.0, 3.0])
def test_noise_falls_off_over_frequency(decay: float) -> None:
    rng = np.random.default_rng(0)
    power = np.mean(
        [np.abs(np.fft.fft2(low_frequency_noise((96, 96), decay, rng))) ** 2 for _ in range(60)], 0
    )
    axis = np.fft.fftfreq(96)
    frequency = np.hypot(axis[:, None], axis)
    bands = np.arange(1, 40) / 96
    level = [power[np.abs(frequency - f) < 0.5 / 96].mean() for f in bands]
    slope = np.polyfit(np.log(bands), np.log(level), 1)[0]
    assert slope == pytest.approx(-2 * decay, abs=0.15)


def test_noise_moments() -> None:
    rng = np.random.default_rng(0)
    noise = np.stack([low_frequency_noise((32, 32), 3.0, rng) for _ in range(4000)])
    scale = noise.std()
    # Gaussian at each pixel, the same everywhere, in both directions alike.
    assert np.abs(noise.mean(0)).max() < 0.12 * scale
    assert noise.std(0).max() / noise.std(0).min() < 1.15
    pixel = noise[:, 5, 7] / noise[:, 5, 7].std()
    assert np.mean(pixel**4) == pytest.approx(3.0, abs=0.5)
    across = np.mean(np.diff(noise, axis=2) ** 2)
    down = np.mean(np.diff(noise, axis=1) ** 2)
    assert across == pytest.approx(down, rel=0.1)
