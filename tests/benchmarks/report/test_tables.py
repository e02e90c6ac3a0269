"""The tables that results become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.some_results import operator_rows, pe_clip_rows, write_results

from benchmarks.report import tables
from benchmarks.report.results_files import read_results


def test_operator_table(tmp_path: Path) -> None:
    write_results(tmp_path, "temporal_adapter-cpu", operator_rows())
    results = read_results(tmp_path)["temporal_adapter-cpu"]
    head, _, *lines = tables.operator(results).lines
    assert head == (
        "| forward: eager | forward: torch.compile | both ways: eager | both ways: torch.compile "
        "| forward: ms | both ways: ms |"
    )
    assert lines == ["| 2.00 | 1.50 | 2.00 | 1.50 | 1.00 | 1.00 |"]
    assert tables.operator(results).note == "backend cpu, 2 clips, h = 48, bf16"


def test_data_loading_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"files": "VP9", "loader": "ours", "frames_per_s": 383.5, "ours_is_times_faster": 1.0},
        {"files": "VP9", "loader": "PIL", "frames_per_s": 200.0, "ours_is_times_faster": 1.9155},
        {"files": "VP9", "loader": "dali", "not_run": "no"},
        {"files": "MJPEG", "loader": "ours", "frames_per_s": 758.7, "ours_is_times_faster": 1.0},
    ]
    write_results(tmp_path, "data_loading-cpu", rows)
    assert tables.data_loading(read_results(tmp_path)["data_loading-cpu"]).lines[2:] == [
        "| VP9 | 1.92 | doesn't take it | 384 |",
        "| MJPEG |  |  | 759 |",
    ]


def test_cold_start_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"what": "import", "program": "torch", "median_ms": 900, "times_faster_than": {"ours": 2}},
        {
            "what": "import",
            "program": "ours",
            "median_ms": 1800,
            "times_faster_than": {"torch": 0.5},
        },
        {"what": "help", "program": "ours", "median_ms": 50, "times_faster_than": {}},
    ]
    write_results(tmp_path, "cold_start-cpu", rows)
    assert tables.cold_start(read_results(tmp_path)["cold_start-cpu"]).lines[2:] == [
        "| import | torch | 0.50 | 900 |",
        "| import | ours |  | 1800 |",
        "| help | ours |  | 50.0 |",
    ]


def test_end_to_end_table(tmp_path: Path) -> None:
    rows = [row | {"files": "VP9", "waited_share": 0.25} for row in pe_clip_rows()[:2]]
    write_results(tmp_path, "end_to_end-cpu", rows)
    assert tables.timed(read_results(tmp_path)["end_to_end-cpu"]).lines[2:] == [
        "| inference | VP9 | reference, fp32 |  | 1000 | 2.00 | 25% |",
        "| inference | VP9 | ours, bf16 | 2.50 | 400 | 5.00 | 25% |",
    ]


def test_packing_table(tmp_path: Path) -> None:
    rows = [
        {"material": "drawn", "height": 256, "width": 256, "form": form, "frames_per_s": speed,
         "bytes_per_frame": 8200.0, "psnr_db": 45.24}
        for form, speed in (("JPEG in Matroska", 1500.0), ("H.264, a key frame in 4", 750.0))
    ]  # fmt: skip
    write_results(tmp_path, "packing-cpu", rows, threads=1)
    head, _, *lines = tables.packing(read_results(tmp_path)["packing-cpu"]).lines
    assert head == "| form | drawn, 256x256 |"
    assert lines[1] == "| H.264, a key frame in 4 | 2.00; 750/s, 8.2 kB, 45.2 dB |"
