"""Action units and the expressions they make: the vocabulary of the built-in demo.

The numbers are those of the Facial Action Coding System, the names and the seven sets are those of
Table 1 of the PE-CLIP paper. Intensities run from 0 (relaxed) to 1 (strongest).
"""

from __future__ import annotations

ACTION_UNITS: dict[int, str] = {
    1: "Inner Brow Raiser",
    2: "Outer Brow Raiser",
    4: "Brow Lowerer",
    5: "Upper Lid Raiser",
    6: "Cheek Raiser",
    7: "Lid Tightener",
    9: "Nose Wrinkler",
    12: "Lip Corner Puller",
    15: "Lip Corner Depressor",
    16: "Lower Lip Depressor",
    20: "Lip Stretcher",
    23: "Lip Tightener",
    26: "Jaw Drop",
}

# In the class order of DFEW and FERV39k.
EXPRESSIONS: dict[str, tuple[int, ...]] = {
    "happiness": (6, 12),
    "sadness": (1, 4, 15),
    "neutral": (),
    "anger": (4, 5, 7, 23),
    "surprise": (1, 2, 5, 26),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 7, 20, 26),
}

NEUTRAL_WORDS: tuple[str, ...] = (
    "Relaxed Muscles",
    "Even Eyebrows",
    "Closed Lips",
    "Calm Eyes",
    "Smooth Forehead",
)

# Classes of the order variant come in pairs: the same two expressions, shown one way and the other.
ORDER_PAIRS: tuple[tuple[str, str], ...] = (
    ("happiness", "sadness"),
    ("surprise", "anger"),
    ("disgust", "fear"),
)

# What a person would call each expression when it is seen, used in the texts of the order variant.
PLAIN_WORDS: dict[str, str] = {
    "happiness": "a smile",
    "sadness": "a sad frown",
    "neutral": "a calm face",
    "anger": "an angry stare",
    "surprise": "a surprised gasp",
    "disgust": "a wrinkled nose",
    "fear": "a frightened look",
}

ORDER_TEXTS: dict[str, str] = {
    f"{first}_then_{second}": f"at last {PLAIN_WORDS[second]}."
    for pair in ORDER_PAIRS
    for first, second in (pair, pair[::-1])
}
"""Class name of the order variant -> its free text, which says how a clip ends."""
