"""A test that is skipped for a reason that isn't allowed fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import skip_reasons
from helpers.skip_reasons import allowed

FILE = """
import pytest

def test_wanting_a_gpu():
    pytest.skip("needs a GPU")

def test_wanting_a_compiler():
    pytest.skip("g++ is not installed")

@pytest.mark.skipif(True, reason="the extension is not built here")
def test_wanting_the_extension():
    pass

@pytest.fixture
def vectors():
    pytest.skip("no vectors here")

def test_wanting_vectors(vectors):
    pass

@pytest.mark.parametrize("size", [])
def test_of_nothing(size):
    pass

@pytest.mark.xfail
def test_expected_to_fail():
    raise ValueError
"""


class Outcomes:
    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.of[report.nodeid.partition("::")[2]] = report.outcome

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self.of[Path(report.nodeid).name] = report.outcome


def outcomes(folder: Path) -> dict[str, str]:
    """Of the tests of a folder, with the hooks of tests/conftest.py."""
    seen = Outcomes()
    arguments = [str(folder), "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    pytest.main([*arguments, f"--rootdir={folder}", "-c", "/dev/null"], [skip_reasons, seen])
    return seen.of


def test_only_an_allowed_reason_skips(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(FILE)
    assert outcomes(tmp_path) == {
        "test_wanting_a_gpu": "skipped",
        "test_wanting_a_compiler": "failed",
        "test_wanting_the_extension": "failed",
        "test_wanting_vectors": "failed",
        "test_of_nothing[NOTSET]": "failed",
        "test_expected_to_fail": "skipped",
    }


def test_a_whole_file_is_judged_as_well(tmp_path: Path) -> None:
    missing = "import pytest\npytest.importorskip('no_such_module_of_ours')\n"
    (tmp_path / "test_bad.py").write_text(missing)
    dali = "import pytest\npytest.skip('NVIDIA DALI is not installed', allow_module_level=True)\n"
    (tmp_path / "test_good.py").write_text(dali)
    assert outcomes(tmp_path) == {"test_bad.py": "failed", "test_good.py": "skipped"}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("no CUDA GPU", True),
        ("Skipped: needs a GPU: torch sees no CUDA GPU", True),
        ("could not import 'transformers': No module named 'transformers'", True),
        ("could not import 'triton': No module named 'triton'", False),
        ("the extension peclip_fast._C was built without CUDA", False),
        ("nvcc is not installed", False),
        ("", False),
    ],
)
def test_reasons(reason: str, expected: bool) -> None:
    assert allowed(reason) is expected
