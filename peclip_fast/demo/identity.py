"""Who a face of the demo belongs to: drawn from a number, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SKINS = ((255, 224, 196), (241, 194, 160), (224, 172, 130), (198, 134, 90), (141, 85, 52))
HAIRS = ((38, 30, 28), (70, 44, 28), (120, 78, 40), (196, 156, 92), (150, 62, 34), (150, 148, 146))
IRISES = ((84, 54, 30), (60, 40, 26), (70, 110, 150), (84, 120, 76), (104, 112, 118))


@dataclass(frozen=True)
class Identity:
    """What stays the same while a face moves; ``Identity.numbered`` draws one from its number."""

    head_width: float
    jaw: float
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    hairline: float
    hair_volume: float
    hair_length: float
    hair_part: float
    iris: tuple[float, float, float]
    eye_size: float
    eye_spacing: float
    eye_cant: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    lip_thickness: float
    lip_red: float
    rest_curve: float
    glasses: bool
    shirt: tuple[float, float, float]
    backdrop: tuple[float, float, float]

    @staticmethod
    def numbered(number: int) -> Identity:
        """The identity with this number (>= 0): the same one on every machine."""
        rng = np.random.default_rng([0xFACE, number])

        def colour(table: tuple[tuple[int, int, int], ...], spread: float) -> Any:
            base = np.array(table[rng.integers(len(table))], dtype=float)
            return tuple(np.clip(base * rng.uniform(1 - spread, 1 + spread), 8, 255).tolist())

        def anything(low: float, high: float) -> Any:
            return tuple(rng.uniform(low, high, 3).tolist())

        return Identity(
            head_width=rng.uniform(0.66, 0.80),
            jaw=rng.uniform(2.0, 3.4),
            skin=colour(SKINS, 0.06),
            hair=colour(HAIRS, 0.15),
            hairline=rng.uniform(-0.82, -0.58),
            hair_volume=rng.uniform(0.04, 0.22),
            hair_length=float(rng.choice([-0.1, 0.1, 0.6, 1.0])) + rng.uniform(-0.1, 0.1),
            hair_part=rng.uniform(-1, 1),
            iris=colour(IRISES, 0.1),
            eye_size=rng.uniform(0.88, 1.14),
            eye_spacing=rng.uniform(0.29, 0.345),
            eye_cant=rng.uniform(-0.025, 0.02),
            brow_height=rng.uniform(-0.39, -0.33),
            brow_thickness=rng.uniform(0.035, 0.075),
            brow_arch=rng.uniform(0.02, 0.07),
            nose_width=rng.uniform(0.11, 0.17),
            nose_length=rng.uniform(0.24, 0.33),
            mouth_width=rng.uniform(0.23, 0.31),
            mouth_height=rng.uniform(0.55, 0.62),
            lip_thickness=rng.uniform(0.75, 1.3),
            lip_red=rng.uniform(0.2, 0.8),
            rest_curve=rng.uniform(-0.012, 0.018),
            glasses=bool(rng.random() < 0.15),
            shirt=anything(30, 220),
            backdrop=anything(60, 225),
        )
