"""What an LLM is asked about a clip."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Sequence
from typing import NamedTuple

from peclip_fast.errors import InputError

PROMPT = """These are {frames} frames of one clip of a face, in order. In at most 50 words and short
sentences, say what moves from frame to frame: brows, eyelids, gaze, nose, cheeks, lips, jaw, head.
Name only movements and positions. Don't name or guess an emotion, a mood or an expression."""
_AGAIN = """

An earlier answer used words that must not appear: {words}. Describe the movements without these
words and without others of that kind."""


class Question(NamedTuple):
    """A prompt, and the number and longer side of the frames that are sent with it."""

    prompt: str
    frames: int
    side: int

    @property
    def digest(self) -> str:
        """Tells one question from another: an answer for other pictures is no answer."""
        return hashlib.sha256(json.dumps(list(self)).encode()).hexdigest()[:16]

    def without(self, words: Sequence[str]) -> str:
        """The prompt, and that these words of earlier answers must not come again, if any."""
        each = dict.fromkeys(" ".join(word.lower().split()) for word in words)
        return self.prompt + _AGAIN.format(words=", ".join(each)) if words else self.prompt


def filled(template: str, frames: int) -> str:
    """The prompt with the number of frames for ``{frames}``.

    Raises:
        InputError: it is empty, or has other fields or single braces.
    """
    if not template.strip():
        raise InputError("--prompt: the file is empty")
    try:
        fields = list(string.Formatter().parse(template))
        unknown = {name for _, name, *_ in fields if name is not None} - {"frames"}
        if unknown:
            raise InputError(f"--prompt: unknown {', '.join(sorted(unknown))}; known: frames")
        return template.format(frames=frames)
    except ValueError as error:
        raise InputError(f"--prompt: {error}; a brace that is meant is written twice") from None
