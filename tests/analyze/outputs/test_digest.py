"""What is drawn of an analysis: segments, gaps, lanes, curves, faces."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.analyses import RATE, SURE, an_analysis, nobody

from peclip_fast.analyze.outputs.digest import (
    BINS,
    CELLS,
    MOST_LANES,
    digest,
    lanes_of,
    segments_of,
)
from peclip_fast.analyze.results import FaceRow, TrackRow


def test_segments_end_when_the_next_frame_is_shown():
    found = segments_of(an_analysis())
    assert [(s.track, s.prediction, s.first_frame, s.last_frame) for s in found] == [
        (1, "happiness", 0, 26), (2, "anger", 3, 54), (1, "sadness", 27, 54),
    ]  # fmt: skip
    assert [(s.start, s.end) for s in found] == [(0.0, 2.7), (0.3, 5.5), (2.7, 5.5)]
    assert [round(s.probability, 3) for s in found] == [0.8, 0.6, 0.7]


def test_a_segment_ends_where_the_track_stops_for_a_while():
    """Rows are missing there, and variable times are no gap."""
    times = [0.0, 0.1, 0.9, 1.0, 1.1, 1.2]
    rows = [FaceRow(n, t, 1, None, None, SURE["anger"]) for n, t in enumerate(times)]
    rows[3] = FaceRow(3, times[3])
    found = segments_of(replace(nobody(), frames=rows))
    assert [(s.start, s.end) for s in found] == [(0.0, 1.0), (1.1, pytest.approx(1.44))]


def test_frames_without_a_window_are_in_no_segment():
    rows = [FaceRow(n, n / RATE, 1, None, None, SURE["anger"] if n > 2 else None) for n in range(6)]
    (one,) = segments_of(replace(nobody(), frames=rows))
    assert (one.first_frame, one.last_frame) == (3, 5)


def test_what_a_digest_holds():
    found = digest(an_analysis())
    assert (found.start, round(found.end, 6)) == (0.0, 6.0)
    assert (found.frames, found.faceless) == (60, 5)
    first = found.tracks[1]
    assert first.hidden == [(1.0, 1.4)]
    assert set(first.faces) < set(range(CELLS))
    cell, (number, box) = next(iter(first.faces.items()))
    assert (cell, number) == (0, 1)
    assert box.x == 10.0
    moments = found.moments()
    at = np.searchsorted(moments, 2.0)
    np.testing.assert_allclose(first.curve[at], SURE["happiness"])
    assert np.isnan(first.curve[moments > 5.55]).all()
    assert not np.isnan(first.curve[moments < 5.45]).any()  # more bins than frames, none empty
    assert np.isnan(found.tracks[2].curve[moments < 0.29]).all()


def test_many_frames_in_a_bin_become_their_mean():
    rows = [FaceRow(n, n / 8, 1, None, None, SURE["anger" if n % 2 else "happiness"])
            for n in range(BINS * 4)]  # fmt: skip
    made = replace(nobody(), frames=rows, tracks=[TrackRow(1, 0, 1, 0, 1, 1, 0)])
    mean = (np.array(SURE["anger"]) + SURE["happiness"]) / 2
    np.testing.assert_allclose(digest(made).tracks[1].curve[3:-3], np.tile(mean, (BINS - 6, 1)))


def test_nobody():
    found = digest(nobody())
    assert (found.tracks, found.lanes, found.left_out) == ({}, [], [])
    assert (found.frames, found.faceless) == (20, 20)
    assert digest(replace(nobody(), frames=[])).frames == 0


def row(track, start, end):
    return TrackRow(track, start, end, 0, 1, 1, 0)


def test_few_tracks_have_a_lane_each():
    rows = [row(n, n, n + 0.5) for n in range(MOST_LANES)]
    assert lanes_of(rows) == ([[n] for n in range(MOST_LANES)], [])


def test_many_tracks_share_lanes_and_none_overlaps():
    rng = np.random.default_rng(3)
    rows = [row(n, start := float(rng.uniform(0, 100)), start + float(rng.uniform(1, 20)))
            for n in range(80)]  # fmt: skip
    lanes, left_out = lanes_of(rows)
    assert len(lanes) == MOST_LANES
    assert sorted([*left_out, *(n for lane in lanes for n in lane)]) == list(range(80))
    for lane in lanes:
        assert all(rows[a].end < rows[b].start for a, b in pairwise(lane))
    assert max(rows[n].end - rows[n].start for n in left_out) < 20


def test_tracks_after_one_another_are_all_drawn():
    lanes, left_out = lanes_of([row(n, n, n + 0.5) for n in range(30)])
    assert (lanes, left_out) == ([list(range(30))], [])
