"""The tokenizers of class texts: CLIP's, and those that come from Hugging Face."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer

from peclip_fast.errors import InputError
from peclip_fast.models.backbone import backbone_folder, model_config

START, END = 49406, 49407  # CLIP's start-of-text and end-of-text tokens
LONGEST = 1024  # tokens of a text, more than any text encoder has positions


class TextTokenizer(Protocol):
    """Turns a text into tokens, as a backbone wants it but for padding."""

    @property
    def pad(self) -> int:
        """What fills the positions after a text."""

    def encode(self, text: str) -> list[int]:
        """The tokens, with those that open and close a text; not cut."""


class CLIPTokenizer:
    """CLIP's, which comes with open_clip."""

    pad = 0

    def encode(self, text: str) -> list[int]:
        """See TextTokenizer."""
        return [START, *tokenizer().encode(text), END]


class HuggingFaceTokenizer:
    """SigLIP's and others', as open_clip uses them.

    Args:
        tokens: open_clip's HFTokenizer.
    """

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens
        self.pad: int = tokens.tokenizer.pad_token_id

    def encode(self, text: str) -> list[int]:
        """See TextTokenizer. One padding token is left: SigLIP closes a text with it."""
        row: list[int] = self._tokens([text], context_length=LONGEST)[0].tolist()
        while row[-2:] == [self.pad, self.pad]:
            row.pop()
        return row


@dataclass(frozen=True)
class BatchTokenizer:
    """Turns texts into what a text encoder reads; small, so that it can go to other processes.

    Args:
        tokenizer: of the backbone.
        positions: that the encoder has.
        whole: whether it reads what follows a text too.
    """

    tokenizer: TextTokenizer
    positions: int
    whole: bool

    def __call__(
        self, texts: Sequence[str], context: int = 0, *, cut: bool = False
    ) -> torch.Tensor:
        """Texts as tokens int64 (C, n): n is the longest's where what follows a text is not read.

        Where it is, n leaves room for the ``context`` tokens and nothing else.

        Args:
            texts: C of them.
            context: learned tokens among them.
            cut: a text that is too long loses its end.

        Raises:
            InputError: it is too long and isn't to be cut.
        """
        rows = [self.tokenizer.encode(text) for text in texts]
        room = self.positions - context
        for i, (text, row) in enumerate(zip(texts, rows, strict=True)):
            if len(row) > room and not cut:
                raise InputError(
                    f"class text {text!r}: {len(row)} tokens, expected at most {room} with "
                    f"{context} context tokens"
                )
            if len(row) > room:
                rows[i] = [*row[: room - 1], row[-1]]  # what closes a text stays
        length = room if self.whole else max(len(row) for row in rows)
        pad = self.tokenizer.pad
        return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


@functools.cache
def tokenizer() -> SimpleTokenizer:
    """CLIP's, one for all models: to make it takes longer than to make a small model."""
    return SimpleTokenizer()


def text_tokenizer(backbone: str) -> TextTokenizer:
    """A backbone's own: from Hugging Face where its text_cfg names one there, or CLIP's.

    Raises:
        InputError: the tokenizer can't be loaded; it is downloaded at the first use.
    """
    config = model_config(backbone)
    wanted = config["text_cfg"].get("hf_tokenizer_name") if config is not None else None
    return _from_hugging_face(backbone, wanted) if wanted else CLIPTokenizer()


@functools.cache
def _from_hugging_face(backbone: str, wanted: str) -> HuggingFaceTokenizer:
    folder = backbone_folder(backbone)
    name = backbone if folder is None else f"local-dir:{folder}"
    try:
        return HuggingFaceTokenizer(open_clip.get_tokenizer(name))
    except Exception as error:  # of open_clip, transformers, the hub or the network
        place = f"of {wanted}" if folder is None else f"in {folder}"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"backbone {backbone!r}: the tokenizer {place} can't be loaded ({reason}); expected "
            "the package transformers (pip install 'peclip-fast[transformers]') and the "
            "tokenizer's files there, or a connection to download them"
        ) from error
