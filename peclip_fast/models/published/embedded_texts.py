"""The class texts of a checkpoint that holds them as embedded tokens, as CoOp's program does.

It embeds "X X a text." with an X for each learned token, and keeps the first row and those after
the X's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.models.tokenizer import END, START, tokenizer

LEARNER = "prompt_learner."
PREFIX, SUFFIX = f"{LEARNER}token_prefix", f"{LEARNER}token_suffix"


def class_tokens(
    state: dict[str, Tensor],
    table: str,
    given: Sequence[str] | None,
    usual: Sequence[str],
    source: str,
) -> list[list[int]]:
    """The tokens of every class text from start to end, checked against the embedded suffixes.

    Args:
        state: with PREFIX and SUFFIX. One without a token table gets one that knows the tokens of
            its own texts.
        table: its name.
        given: the class texts; None recovers them from the token table.
        usual: tried first where none are given.
        source: of the tensors, for messages.

    Raises:
        InputError: the class texts are others, or can't be recovered.
    """
    suffix = state[SUFFIX].float()
    texts = usual if given is None else given
    tokens = [[START, *tokenizer().encode(text), END] for text in texts]
    fits = len(tokens) == len(suffix) and max(map(len, tokens)) <= suffix.shape[1] + 1
    if fits:
        padded = torch.tensor([row[1:] + [0] * (suffix.shape[1] + 1 - len(row)) for row in tokens])
        if table not in state:
            state[table] = _table_of(padded, state)
        # A table that was kept in half precision has lost some bits.
        if torch.allclose(state[table][padded].float(), suffix, rtol=1e-3, atol=1e-6):
            return tokens
    if given is None and table in state:
        return [[START, *_recover(row, state[table].float())] for row in suffix]
    raise InputError(
        f"{source}: tensors differ: {PREFIX} and {SUFFIX} are of {len(suffix)} classes with texts "
        "of their own"
        + ("; give class_texts" if given is None else f", not of the {len(given)} class texts")
    )


def check_tokens(read: Tensor, tokens: Sequence[Sequence[int]], source: str) -> None:
    """Raise InputError unless a model reads these tokens, (C, n) with zeros behind them."""
    if [[t for t in row if t] for row in read.tolist()] != tokens:
        raise InputError(f"{source}: its class texts can't be recovered; give class_texts")


def text_of(tokens: Sequence[int]) -> str:
    """A text that has these tokens, without spaces in front of its commas where there may be none.

    The tokenizer takes letters for small ones and gives a space after every word.
    """
    body = [t for t in tokens if t not in (START, END)]
    text = tokenizer().decode(body).strip()
    tidy = re.sub(r" +([.,;:!?])", r"\1", text)
    return tidy if tokenizer().encode(tidy) == body else text


def _table_of(padded: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """A token table with the rows that the suffixes show, zero elsewhere."""
    suffix = state[SUFFIX]
    table = suffix.new_zeros(END + 1, suffix.shape[-1])
    table[padded.flatten()] = suffix.flatten(0, 1)
    table[START] = state[PREFIX][0, 0]
    return table


def _recover(suffix: Tensor, table: Tensor) -> list[int]:
    """Token ids of embedded rows (n, Dt), up to the end-of-text token."""
    nearest = torch.cdist(suffix, table).argmin(1).tolist()
    return nearest[: nearest.index(END) + 1] if END in nearest else nearest
