"""A configuration that is written and read again is the same, whatever its options are."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, reject, settings
from hypothesis import strategies as st

from peclip_fast.config.options import flat, nested
from peclip_fast.config.parser import configure
from peclip_fast.config.run import differences
from peclip_fast.errors import InputError

# Words that YAML takes for something else, and what people have in names and paths.
WORDS = st.sampled_from(
    ["yes", "no", "null", "~", "1", "1e3", "0x1f", "1:30", "2001-01-01", "a: b", "#a", "- a",
     "a, b", "[a]", "{a}", "'a'", '"a"', "a\\b", "é", "e\u0301", "快乐", " a", "a ", "*a", "&a",
     "!a", "%a", ".inf", "\u202e", "😀"]
)  # fmt: skip
NAMES = WORDS | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9)
SHARES = st.floats(0, 1)
OPTIONS = st.fixed_dictionaries(
    {"data.dataset": st.just("csv"), "data.train_list": NAMES},
    optional={
        "data.root": NAMES,
        "data.classes": st.lists(NAMES, min_size=1, max_size=4, unique=True) | st.none(),
        "data.shots": st.integers(1, 10**9) | st.none(),
        "data.frames": st.integers(1, 64),
        "data.noise": SHARES,
        "data.mix.mixup": st.just(0.5) | st.floats(0, 0.5),
        "data.mix.fmix": st.just(0.5) | st.floats(0, 0.5),
        "data.mix.mixup_alpha": st.floats(1e-3, 1e300),
        "data.augment.brightness": st.floats(0, 1e300),
        "data.num_workers": st.none() | st.integers(0, 9),
        "data.on_bad_clip": st.sampled_from(["error", "skip"]),
        "model.backbone": NAMES,
        "model.pretrained": NAMES | st.none(),
        "model.normalize": st.sampled_from(["none", "clip"]),
        "train.seed": st.integers(0, 2**31 - 1),
        "train.epochs": st.integers(4, 99),
        "train.lr.adapters": st.floats(1e-9, 1),
        "train.clip_norm": st.none() | st.floats(1e-3, 9),
    },
)


@settings(max_examples=25)
@given(OPTIONS)
def test_what_is_written_is_read(options: dict[str, object]) -> None:
    """Paths are made absolute, since a run may go on from another folder."""
    try:
        made = configure(options)
    except InputError:  # a word that is nothing for an option
        reject()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(made.to_yaml(), encoding="utf-8")
        again = configure(str(path))
    assert differences(made, again) == []
    assert again.to_yaml() == made.to_yaml()
    assert again.data.classes == made.data.classes


KEYS = st.text("abc", min_size=1, max_size=2)
INNER = st.dictionaries(KEYS, st.integers() | st.none(), min_size=1, max_size=3)
TREES = st.integers() | INNER | st.dictionaries(KEYS, INNER, min_size=1, max_size=3)


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_flat_and_nested_are_inverse(tree: dict[str, object]) -> None:
    assert nested(dict(flat(tree))) == tree
