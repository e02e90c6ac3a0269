"""The plots that results become."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.some_results import ROOFS, operator_rows, pe_clip_rows, write_results

from benchmarks.report import drawings, plots
from benchmarks.report.results_files import read_results


def test_bars_are_the_results(tmp_path: Path) -> None:
    write_results(tmp_path, "pe_clip-cpu", pe_clip_rows())
    figure = drawings.speeds([read_results(tmp_path)["pe_clip-cpu"]])
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[2.0, 5.0], [2000 / 3000, 2000 / 1200]]
    assert "Some Processor, 2 cores, 2026-11-22" in figure.get_suptitle()


def test_the_roofline_waits_for_the_roofs(tmp_path: Path) -> None:
    write_results(tmp_path, "temporal_adapter-cpu", operator_rows(), copy_bytes_per_s=10e9)
    assert plots.pictures(read_results(tmp_path)) == {}
    write_results(tmp_path, "bottleneck_adapter-cpu", operator_rows(), **ROOFS)
    picture = plots.pictures(read_results(tmp_path))["roofline-cpu"]
    assert [source.name for source in picture.sources] == ["bottleneck_adapter-cpu"]


def test_points_and_roof_of_the_roofline(tmp_path: Path) -> None:
    write_results(tmp_path, "temporal_adapter-cpu", operator_rows(), **ROOFS)
    figure = drawings.roofline([read_results(tmp_path)["temporal_adapter-cpu"]])
    [axes] = figure.axes
    *points, roof = [[tuple(point) for point in line.get_xydata()] for line in axes.lines]
    forward = [(40.0, 2.0), (40.0, 4e6 / 1.5e6), (40.0, 4.0)]  # FLOP a byte, GFLOP/s
    assert [point for [point] in points[:3]] == [pytest.approx(point) for point in forward]
    assert points[5][0] == pytest.approx((120.0, 12.0))
    assert roof[1] == pytest.approx((10.0, 100.0))  # where 10 GB/s meet 100 GFLOP/s
