"""The report: what the results give, and that --check sees everything that is otherwise."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.some_results import pe_clip_rows, write_results

from benchmarks.compile_checks.table import FILE
from benchmarks.report import documents as report
from benchmarks.report import drawings
from benchmarks.report.results_files import read_results

ROOT = Path(__file__).parents[3]
README = """\
# A page

Some words.

<!-- results: pe_clip-cpu -->
<!-- end -->

<!-- plot: pe_clip-cpu -->
<!-- end -->

<!-- resources: 768, 96, bf16 -->
<!-- end -->
"""
PE_CLIP_LINES = """\
|  | program | times as fast as reference | ms | clips/s | peak memory, GB |
| --- | --- | --: | --: | --: | --: |
| inference | reference, fp32 |  | 1000 | 2.00 |  |
| inference | ours, bf16 | 2.50 | 400 | 5.00 |  |
| train step | reference, fp32 |  | 3000 | 0.67 | 9.00 |
| train step | ours, bf16 | 2.50 | 1200 | 1.67 | 3.20 |

*ViT-B-16, 2 clips; Some Processor, 2 cores, torch 2.15.0, 2026-11-22, commit abc1234; \
[results](benchmarks/results/pe_clip-cpu.json).*
"""


def write_page(root: Path) -> Path:
    (root / "docs").mkdir()
    (root / "README.md").write_text(README)
    write_results(root, "pe_clip-cpu", pe_clip_rows())
    (root / FILE).parent.mkdir()
    shutil.copy(ROOT / FILE, root / FILE)
    return root


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A checkout with one page and one results file, for which the report was not run yet."""
    return write_page(tmp_path)


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_page(tmp_path_factory.mktemp("page"))
    assert report.main([], root) == 0
    return root


@pytest.fixture
def written(drawn_once: Path, tmp_path: Path) -> Path:
    """The same, for which it was run."""
    return shutil.copytree(drawn_once, tmp_path / "copy")


@pytest.fixture
def complaints(capsys: pytest.CaptureFixture[str]) -> Callable[[Path], list[str]]:
    """What --check says."""

    def run(root: Path) -> list[str]:
        capsys.readouterr()
        code = report.main(["--check"], root)
        lines = capsys.readouterr().err.splitlines()
        assert code == (1 if lines else 0)
        return lines

    return run


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_page_is_written_and_then_holds(
    written: Path, complaints: Callable[[Path], list[str]]
) -> None:
    text = (written / "README.md").read_text()
    assert f"<!-- results: pe_clip-cpu -->\n{PE_CLIP_LINES}<!-- end -->\n" in text
    assert "](docs/plots/pe_clip-cpu.png)\n<!-- end -->\n" in text
    assert complaints(written) == []


def test_what_the_kernels_use_is_a_region(
    written: Path, complaints: Callable[[Path], list[str]]
) -> None:
    (written / "docs" / "deep").mkdir()
    path = written / "docs" / "deep" / "gpu.md"
    path.write_text("<!-- resources: 768, 96, bf16 -->\n<!-- end -->\n")
    assert report.main([], written) == 0
    text = path.read_text()
    assert "| temporal_adapter | cuda |" in text
    assert "](../../benchmarks/compile_checks/resources.json)" in text
    change(written / FILE, '"cuda": ["', '"cuda": ["9.')
    lines = complaints(written)
    assert [line.partition(":")[0] for line in lines] == ["README.md", "docs/deep/gpu.md"]
    (written / FILE).write_text("[]")
    [line] = complaints(written)
    assert "resources.json: expected compilers and kernels" in line


def test_every_program_that_the_documents_name_is_there() -> None:
    named = set()
    for path in report.documents(ROOT):
        named |= set(re.findall(r"python\s+-m\s+(benchmarks\.[\w.]*\w)", path.read_text()))
    named -= {"benchmarks.OPERATOR"}  # a placeholder
    assert {"benchmarks.pe_clip", "benchmarks.report"} <= named
    assert [name for name in sorted(named) if importlib.util.find_spec(name) is None] == []


def test_writing_again_changes_nothing(written: Path) -> None:
    before = contents(written)
    assert report.main([], written) == 0
    assert contents(written) == before


def test_check_writes_nothing(page: Path, complaints: Callable[[Path], list[str]]) -> None:
    before = contents(page)
    assert complaints(page)
    assert contents(page) == before


def test_a_changed_digit_in_a_block(written: Path, complaints: Callable[[Path], list[str]]) -> None:
    change(written / "README.md", "| ours, bf16 | 2.50 | 400 |", "| ours, bf16 | 2.51 | 400 |")
    assert complaints(written) == [
        "README.md:9: expected '| inference | ours, bf16 | 2.50 | 400 | 5.00 |  |' "
        "(run python -m benchmarks.report)"
    ]


def test_links_are_as_seen_from_the_document(written: Path) -> None:
    path = written / "docs" / "more.md"
    path.write_text(README)
    assert report.main([], written) == 0
    assert "[results](../benchmarks/results/pe_clip-cpu.json)" in path.read_text()
    assert "](plots/pe_clip-cpu.png)" in path.read_text()


def test_a_stale_plot(written: Path, complaints: Callable[[Path], list[str]]) -> None:
    rows = pe_clip_rows()
    rows[0]["runs"] = 8  # which no table shows
    write_results(written, "pe_clip-cpu", rows)
    assert complaints(written) == [
        "docs/plots/pe_clip-cpu.png:1: expected a plot of the present results of pe_clip-cpu "
        "(run python -m benchmarks.report)"
    ]
    assert report.main([], written) == 0
    assert complaints(written) == []


def test_a_missing_and_a_broken_plot(
    written: Path, complaints: Callable[[Path], list[str]]
) -> None:
    picture = written / "docs" / "plots" / "pe_clip-cpu.png"
    picture.write_bytes(b"no picture")
    [broken] = complaints(written)
    assert "pe_clip-cpu.png:1: expected a plot of the present results" in broken
    picture.unlink()
    [missing] = complaints(written)
    assert "pe_clip-cpu.png:1: expected this plot, and it is missing" in missing


def test_layout_of_a_results_file_does_not_matter(
    written: Path, complaints: Callable[[Path], list[str]]
) -> None:
    path = written / "benchmarks" / "results" / "pe_clip-cpu.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3))
    assert complaints(written) == []


def test_absent_results(written: Path, complaints: Callable[[Path], list[str]]) -> None:
    (written / "benchmarks" / "results" / "pe_clip-cpu.json").unlink()
    assert any("expected no such plot" in line for line in complaints(written))
    assert report.main([], written) == 0
    text = (written / "README.md").read_text()
    assert (
        "<!-- results: pe_clip-cpu -->\nNot measured on a CPU yet: `python -m benchmarks.pe_clip` "
        "writes `benchmarks/results/pe_clip-cpu.json`.\n<!-- end -->\n" in text
    )
    assert "The plot `pe_clip-cpu` is not drawn yet" in text
    assert list((written / "docs" / "plots").iterdir()) == []
    assert complaints(written) == []


@pytest.mark.parametrize("arguments", [[], ["--check"]])
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"median_ms"', '"mean_ms"', "no key 'median_ms'"),
        ('"commit"', '"comment"', "no key 'commit'"),
        ('"rows"', '"lines"', "no key 'rows'"),
        ('"rows": [', '"rows": [1, ', "'rows' is not a list of objects"),
        ('{"benchmark"', '{{"benchmark"', "not JSON: Expecting property name"),
    ],
)
def test_broken_results(
    written: Path, capsys: pytest.CaptureFixture[str],
    arguments: list[str], old: str, new: str, expected: str,
) -> None:  # fmt: skip
    path = written / "benchmarks" / "results" / "pe_clip-cpu.json"
    path.write_text(path.read_text().replace(old, new))
    before = contents(written)
    assert report.main(arguments, written) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"benchmarks/results/pe_clip-cpu.json: {expected}")
    assert contents(written) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!-- results: pe_clip-cpu -->\n", "1: expected <!-- end --> after 'pe_clip-cpu'"),
        ("\n<!-- end -->\n", "2: expected a region before <!-- end -->"),
        (
            "<!-- results: pe_clip-cpu -->\n<!-- plot: pe_clip-cpu -->\n<!-- end -->\n",
            "2: expected <!-- end --> before another region",
        ),
        (
            "\n<!-- results: pe_clap-cpu -->\n<!-- end -->\n",
            "2: expected the name of results with a table, not 'pe_clap-cpu'",
        ),
        (
            "<!-- plot: pe_clip-tpu -->\n<!-- end -->\n",
            "1: expected the name of a plot, not 'pe_clip-tpu'",
        ),
        (
            "<!-- resources: 768, 97, bf16 -->\n<!-- end -->\n",
            "1: expected a case of resources.json, not '768, 97, bf16'",
        ),
    ],
)
def test_wrong_markers(
    written: Path, complaints: Callable[[Path], list[str]], text: str, expected: str
) -> None:
    (written / "docs" / "more.md").write_text(text)
    assert complaints(written) == [f"docs/more.md:{expected}"]


def test_faults_are_counted(tmp_path: Path) -> None:
    rows = [
        {"title": "CSV files", "inputs": 10_000, "refused": 7000, "accepted": 2998,
         "slowest_s": 0.1234, "findings": [{"times": 1}, {"times": 1}]},
        {"title": "kills", "inputs": 50, "refused": 0, "accepted": 50, "slowest_s": 12.3,
         "findings": []},
    ]  # fmt: skip
    (tmp_path / "README.md").write_text("<!-- results: faults-cpu -->\n<!-- end -->\n")
    assert report.main([], tmp_path) == 0
    assert "`PYTHONPATH=tests python -m faults` writes" in (tmp_path / "README.md").read_text()
    write_results(tmp_path, "faults-cpu", rows, seed=3, minutes=61.5)
    assert report.main([], tmp_path) == 0
    text = (tmp_path / "README.md").read_text()
    assert "| CSV files | 10,000 | 7,000 | 2,998 | 0.12 | 2 |\n" in text
    assert "| kills | 50 | 0 | 50 | 12.3 | 0 |\n" in text
    assert "*Seed 3, 61.5 minutes; Some Processor" in text


def test_scaling_and_loss_curves_are_drawn(
    tmp_path: Path, complaints: Callable[[Path], list[str]]
) -> None:
    kind = {"varied": "frames", "what": "inference", "program": "ours"}
    rows = [{**kind, "frames": n, "clips": 1, "median_ms": 10.0 * n} for n in (4, 8)]
    exponents = [{**kind, "against": "frames", "exponent": 1.0}]
    write_results(tmp_path, "scaling-cpu", rows, exponents=exponents)
    losses = [
        {"program": program, "seed": seed, "step": step, "loss": loss + seed - step / 10}
        for program, loss in (("reference", 2.0), ("ours", 3.0))
        for seed in (0, 1)
        for step in (0, 1)
    ]
    write_results(tmp_path, "loss_curves-cpu", losses, difference_of_means=0.25, seed_spread=0.125)
    markers = ("results: scaling", "plot: scaling", "results: loss_curves", "plot: loss_curves")
    text = "".join(f"<!-- {marker}-cpu -->\n<!-- end -->\n" for marker in markers)
    (tmp_path / "README.md").write_text(text)
    assert report.main([], tmp_path) == 0
    text = (tmp_path / "README.md").read_text()
    assert "| inference | ours | 1.00 |" in text
    assert "| reference | 2 | 2.400 |\n| ours | 2 | 3.400 |" in text
    assert "the means differ by 0.25, and the standard deviation of plain PyTorch" in text
    assert "seeds is 0.12; Some Processor" in text
    assert complaints(tmp_path) == []
    results = read_results(tmp_path)
    [axes] = drawings.scaling([results["scaling-cpu"]]).axes
    assert list(axes.lines[0].get_ydata()) == [40.0, 80.0]
    [axes] = drawings.loss_curves([results["loss_curves-cpu"]]).axes
    assert list(axes.lines[5].get_ydata()) == pytest.approx([3.5, 3.4])
