from __future__ import annotations

from dataclasses import fields

import pytest

from peclip_fast.config.data import AugmentConfig, DataConfig, MixConfig
from peclip_fast.errors import InputError


def test_defaults_are_the_recipe_of_dfew() -> None:
    config = DataConfig()
    assert config.frames == 16
    assert config.augment == AugmentConfig(hflip=0.5, brightness=0.5, contrast=0, rotation=0)
    assert (config.mix.mixup, config.mix.fmix) == (0.4, 0.3)
    assert (config.mix.mixup_alpha, config.mix.mixup_min, config.mix.mixup_max) == (0.4, 0.3, 0.7)
    assert (config.mix.fmix_alpha, config.mix.fmix_decay) == (1.0, 3.0)


def test_probabilities_may_add_up_to_one() -> None:
    assert MixConfig(mixup=0.9, fmix=0.1).fmix == 0.1


@pytest.mark.parametrize("config", [AugmentConfig, MixConfig, DataConfig])
def test_every_option_is_explained(config: type) -> None:
    """--help takes its words from the docstring."""
    for option in fields(config):
        assert f"\n        {option.name}: " in (config.__doc__ or "")


@pytest.mark.parametrize(
    ("config", "option", "value", "message"),
    [
        (AugmentConfig, "hflip", 1.5, r"data\.augment\.hflip: expected 0 to 1, got 1\.5"),
        (AugmentConfig, "scale_min", 0.0, r"data\.augment\.scale_min: expected 0\.001 to 1, got 0"),
        (AugmentConfig, "scale_max", 2.0, r"data\.augment\.scale_max: expected 0\.08 to 1, got 2"),
        (AugmentConfig, "rotation", -4.0, r"data\.augment\.rotation: expected 0 to 180, got -4"),
        (
            AugmentConfig,
            "brightness",
            float("nan"),
            r"data\.augment\.brightness: expected",
        ),
        (MixConfig, "fmix", 0.7, r"data\.mix\.fmix: expected 0 to 0\.6, got 0\.7"),
        (MixConfig, "mixup_min", 0.8, r"data\.mix\.mixup_min: expected 0 to 0\.7, got 0\.8"),
        (DataConfig, "frames", 0, r"data\.frames: expected at least 1, got 0"),
        (DataConfig, "stride", 0, r"data\.stride: expected at least 1, got 0"),
        (DataConfig, "stride", 4, r"data\.stride=4: expected 1, as data\.sampling=segments"),
        (DataConfig, "shots", 0, r"data\.shots: expected at least 1, got 0"),
        (DataConfig, "shots", -1, r"data\.shots: expected at least 1, got -1"),
        (DataConfig, "shots_seed", -1, r"data\.shots_seed: expected at least 0, got -1"),
        (DataConfig, "num_workers", -1, r"data\.num_workers: expected at least 0, got -1"),
        (DataConfig, "classes", ["a", "a"], r"data\.classes: a name comes twice in a, a"),
    ],
)
def test_values_out_of_range(config: type, option: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        config(**{option: value})
