"""Names that a reader takes for the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.config.names import alike, composed


@pytest.mark.parametrize(
    "other", ["Joy", " joy", "joy\u00a0", "ＪＯＹ", "j\u200boy", "\ufeffjoy", "joy\u202c"]
)
def test_names_that_are_alike(other: str) -> None:
    assert alike(other) == alike("joy")


@pytest.mark.parametrize("other", ["joys", "j oy", "jo_y", "jöy", "j0y", ""])
def test_names_that_are_not(other: str) -> None:
    assert alike(other) != alike("joy")


@given(st.text())
def test_forms_of_unicode_do_not_count(name: str) -> None:
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, name)
        assert composed(written) == composed(name)
        assert alike(written) == alike(name)
    assert alike(alike(name)) == alike(name)
