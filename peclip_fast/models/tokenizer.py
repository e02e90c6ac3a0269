"""CLIP's tokenizer."""

from __future__ import annotations

import functools

from open_clip.tokenizer import SimpleTokenizer

START, END = 49406, 49407  # the start-of-text and end-of-text tokens


@functools.cache
def tokenizer() -> SimpleTokenizer:
    """One for all models: to make it takes longer than to make a small model."""
    return SimpleTokenizer()
