"""A few training clips of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.commands.data.summary import main
from peclip_fast.config.data import DataConfig
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.shots import described, draw_shots
from peclip_fast.data.splits import open_splits

COUNTS = (7, 40, 3, 0, 40)


@pytest.fixture
def splits() -> DatasetSplits:
    """Classes of different sizes, mixed as in a list."""
    train = [
        ClipRecord(Path(f"{label}/{clip}"), label)
        for clip in range(max(COUNTS))
        for label, count in enumerate(COUNTS)
        if clip < count
    ]
    return DatasetSplits("list", tuple("abcde"), train, train[:9])


def test_as_many_as_asked_for_in_their_former_order(splits: DatasetSplits) -> None:
    drawn = draw_shots(splits, 5, seed=1)
    counts = Counter(record.label for record in drawn.train)
    assert [counts[label] for label in range(5)] == [5, 5, 3, 0, 5]
    places = [splits.train.index(record) for record in drawn.train]
    assert places == sorted(set(places))
    assert (drawn.name, drawn.classes, drawn.test) == (splits.name, splits.classes, splits.test)
    assert draw_shots(splits, 40, seed=1) == splits


def test_more_shots_add_to_fewer(splits: DatasetSplits) -> None:
    draws = [set(draw_shots(splits, shots, seed=3).train) for shots in range(1, 12)]
    assert all(few < more for few, more in pairwise(draws))


@given(
    labels=st.lists(st.integers(0, 4), max_size=80), shots=st.integers(1, 30),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_of_any_list(labels: list[int], shots: int, seed: int) -> None:
    """As many of each class as there are, in their order, and fewer shots are among more."""
    train = [ClipRecord(Path(str(number)), label) for number, label in enumerate(labels)]
    splits = DatasetSplits("list", tuple("abcde"), train, train[:3])
    drawn = draw_shots(splits, shots, seed)
    counts = Counter(record.label for record in drawn.train)
    assert counts == {label: min(count, shots) for label, count in Counter(labels).items()}
    assert drawn.train == [record for record in train if record in drawn.train]
    assert drawn.test == splits.test
    assert set(draw_shots(splits, max(1, shots - 1), seed).train) <= set(drawn.train)


def test_the_seed_and_nothing_else_draws(splits: DatasetSplits) -> None:
    drawn = draw_shots(splits, 5, seed=1)
    assert draw_shots(splits, 5, seed=1) == drawn
    assert draw_shots(splits, 5, seed=2) != drawn
    # Classes of one size get different draws, and a class's own doesn't hang on the others.
    numbers = [[r.path.name for r in drawn.train if r.label == label] for label in (1, 4)]
    assert numbers[0] != numbers[1]
    alone = replace(splits, train=[r for r in splits.train if r.label == 4])
    assert [r.path.name for r in draw_shots(alone, 5, seed=1).train] == numbers[1]


def test_every_clip_is_as_likely(splits: DatasetSplits) -> None:
    counts = Counter(r for seed in range(400) for r in draw_shots(splits, 10, seed).train)
    often = [counts[record] for record in splits.train if record.label == 1]
    assert 60 < min(often) <= max(often) < 140  # 100 expected, with a deviation of 8.7


def test_the_words_name_small_classes(splits: DatasetSplits) -> None:
    def words(shots: int) -> str:
        config = DataConfig("list", shots=shots, shots_seed=6)
        return described(draw_shots(splits, shots, 6), config)

    drawn = "training clips of each class, drawn by the seed 6"
    assert words(5) == f"at most 5 {drawn}; fewer there are of c (3), d (0)"
    full = replace(splits, classes=("a",), train=[r for r in splits.train if r.label == 0])
    assert described(full, DataConfig("list", shots=2, shots_seed=6)) == f"at most 2 {drawn}"


def test_every_kind_of_dataset(tmp_path: Path, frames_at: Callable[..., Path]) -> None:
    rows = []
    for split in ("train", "test"):
        for name in ("one", "two"):
            for clip in range(6):
                folder = frames_at(tmp_path / split / name / str(clip), 1)
                rows.append((split, folder.relative_to(tmp_path), name))
    files = {}
    for suffix, line in (("csv", "{},{}"), ("txt", "{} 1 {}")):
        for split in ("train", "test"):
            files[split, suffix] = tmp_path / f"{split}.{suffix}"
            labels = {"one": 0, "two": 1} if suffix == "txt" else {"one": "one", "two": "two"}
            lines = [line.format(path, labels[name]) for s, path, name in rows if s == split]
            files[split, suffix].write_text("\n".join(lines))

    def drawn(dataset: str, suffix: str = "", **options: object) -> list[tuple[str, int]]:
        if suffix:
            options["train_list"] = files["train", suffix]
            options["test_list"] = files["test", suffix]
        config = DataConfig(dataset, tmp_path, shots=2, **options)  # type: ignore[arg-type]
        splits = open_splits(config)
        assert len(splits.test) == 12
        return [(f"{r.path.parent.name}/{r.path.name}", r.label) for r in splits.train]

    found = drawn("folder")
    assert [label for _, label in found] == [0, 0, 1, 1]
    assert drawn("csv", "csv") == found
    assert drawn("list", "txt", classes=["one", "two"]) == found
    assert drawn("dfew", "txt") == found  # lists in place of a dataset's own splits


def test_the_summary_shows_what_was_drawn(
    tmp_path: Path, frames_at: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for split, name, clips in (("train", "fear", 5), ("train", "calm", 2), ("test", "fear", 4)):
        for clip in range(clips):
            frames_at(tmp_path / "clips" / split / name / str(clip), 2)
    config = tmp_path / "few.yaml"
    root = tmp_path / "clips"
    config.write_text(f"data: {{dataset: folder, root: {root}, shots: 3, num_workers: 1}}")
    assert main([str(config), "--output", str(tmp_path / "sheet.png")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    drawn = "at most 3 training clips of each class, drawn by the seed 0"
    assert lines[1] == f"{drawn}; fewer there are of calm (2)"
    assert any(line.startswith("fear 3 4 ") for line in lines)
    assert "all 5 4" in lines
