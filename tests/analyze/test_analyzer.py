"""From videos of known content to rows: who, when, how many windows, with the right times."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from helpers.clips.drawn_clips import turn_video
from helpers.clips.face_videos import (
    RATE,
    SIDE,
    frame_at,
    one_face,
    steady,
    write_faces_video,
)

from peclip_fast import Analyzer, InputError, from_pretrained
from peclip_fast.analyze.pipeline.windows import TrackWindows
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.faces.crop import CropProfile


def check_whole(result, frames):
    """What holds of any analysis."""
    assert sorted({row.frame for row in result.frames}) == list(range(frames))
    assert [row.frame for row in result.frames] == sorted(row.frame for row in result.frames)
    numbers = [row.track for row in result.tracks]
    assert numbers == sorted(set(numbers))
    for row in result.tracks:
        mine = [r for r in result.frames if r.track == row.track]
        assert (mine[0].frame, mine[-1].frame) == (row.first_frame, row.last_frame)
        assert sum(r.success for r in mine) == row.frames
        windows = [w for w in result.windows if w.track == row.track]
        assert len(windows) == row.windows
        for frame in mine:
            held = [
                w.probabilities for w in windows if w.first_frame <= frame.frame <= w.last_frame
            ]
            if held and frame.success:
                assert frame.probabilities == pytest.approx(np.mean(held, axis=0), abs=1e-9)
            else:
                assert frame.probabilities is None
        if windows:
            mean = np.mean([w.probabilities for w in windows], axis=0)
            assert row.probabilities == pytest.approx(mean, abs=1e-9)
    for window in result.windows:
        assert sum(window.probabilities) == pytest.approx(1, abs=1e-5)


def test_one_face_is_one_track_over_the_whole_clip(analyzer, face_video):
    result = analyzer.analyze(face_video)
    check_whole(result, 36)
    (track,) = result.tracks
    assert (track.start, track.end) == pytest.approx((0, 35 / RATE), abs=1e-6)
    assert track.frames == 36
    # From 0, 0.5, ..., 2.0 s on, a second each; the last is over with the video.
    assert [(w.first_frame, w.last_frame) for w in result.windows] == [
        (k, k + 11) for k in range(0, 25, 6)
    ]
    for row in result.frames:
        x, y = one_face(row.timestamp)[0]
        assert abs(row.box.x + row.box.width / 2 - x - SIDE / 2) < SIDE / 6
        assert abs(row.box.y + row.box.height / 2 - y - 0.58 * SIDE) < SIDE / 6


@pytest.mark.parametrize("name", ["woman_sad_640x360_h264.mp4", "single_face_640x360_h264.mp4"])
def test_a_real_video_is_one_track_with_a_box_in_all_frames(analyzer, assets, name):
    source = open_clip_source(assets / "videos" / name)
    frames = source.num_frames
    source.close()
    result = analyzer.analyze(assets / "videos" / name, end=3.0)
    (track,) = result.tracks
    assert track.frames >= 0.99 * min(frames, len({row.frame for row in result.frames}))
    assert result.cuts == ()


def test_frame_by_frame_and_all_at_once_are_the_same(analyzer, face_video):
    whole = analyzer.analyze(face_video)
    source = open_clip_source(face_video)
    images, times = list(source.frames()), source.index.seconds()
    source.close()
    given = analyzer.analyze(zip(images, times, strict=True))
    last = []
    for image, time in zip(images, times, strict=True):
        last = analyzer.push(image, time)
    pushed = analyzer.finish()
    assert last[0].probabilities is not None
    for other in (given, pushed):
        assert other.source == "frames"
        assert [w.first_frame for w in other.windows] == [w.first_frame for w in whole.windows]
        for one, same in zip(whole.windows, other.windows, strict=True):
            assert same.probabilities == pytest.approx(one.probabilities, abs=1e-5)
        assert [r.box for r in other.frames] == [r.box for r in whole.frames]
    with pytest.raises(InputError, match="no frame was pushed"):
        analyzer.finish()


def test_a_video_without_a_face_has_a_row_for_every_frame(analyzer, tmp_path):
    path = write_faces_video(tmp_path / "none.mp4", steady(2.5), lambda time: [])
    result = analyzer.analyze(path)
    assert [(row.frame, row.track, row.success) for row in result.frames] == [
        (k, None, False) for k in range(30)
    ]
    assert (result.windows, result.tracks) == ([], [])


def test_one_who_enters_and_one_who_leaves(analyzer, tmp_path):
    """Each is there from when it is wholly in the picture to when it goes."""

    def places(time):
        return [(20, 60) if time < 3 else None, (250, 80) if time >= 2 else None]

    result = analyzer.analyze(write_faces_video(tmp_path / "two.mp4", steady(5), places))
    check_whole(result, 60)
    first, second = result.tracks
    assert (first.first_frame, first.last_frame) == (0, 35)
    assert (second.first_frame, second.last_frame) == (24, 59)


def test_a_face_that_is_hidden_for_a_moment_has_rows_without_a_box(analyzer, tmp_path):
    path = write_faces_video(
        tmp_path / "hidden.mp4", steady(3), lambda t: [None if 1 <= t < 1.5 else (130, 70)]
    )
    result = analyzer.analyze(path)
    check_whole(result, 36)
    (track,) = result.tracks
    assert track.frames == 30
    hidden = [row for row in result.frames if not row.success]
    assert [row.frame for row in hidden] == list(range(12, 18))
    assert {row.track for row in hidden} == {1}


def test_after_a_long_break_it_is_the_same_person_and_nobody_was_there(analyzer, tmp_path):
    path = write_faces_video(
        tmp_path / "back.mp4", steady(6), lambda t: [None if 1.5 <= t < 4 else (130, 70)]
    )
    result = analyzer.analyze(path)
    (track,) = result.tracks
    assert (track.first_frame, track.last_frame, track.frames) == (0, 71, 42)
    gone = [row for row in result.frames if 18 <= row.frame < 48]
    assert {row.track for row in gone} == {None}
    assert all(not (w.first_frame < 18 <= w.last_frame) for w in result.windows)


TIMES = {
    "variable": [float(t) for t in np.cumsum(np.random.default_rng(0).uniform(0.014, 0.14, 40))],
    "late": steady(2.5, start=5.0),
    "steady": steady(2.5),
    "few": [float(k) for k in range(8)],  # a second apart
}


@pytest.mark.parametrize(
    ("kind", "suffix", "frames"),
    [
        ("variable", "mp4", {"bf": "3"}),
        ("variable", "mkv", {"bf": "0"}),
        ("late", "mp4", {"bf": "3"}),
        ("late", "mkv", {"bf": "3"}),
        ("late", "mov", {"bf": "3"}),
        ("late", "ts", {"bf": "3"}),
        ("steady", "avi", {"bf": "3"}),
        ("few", "mp4", {}),
    ],
)
def test_times_are_right_to_10_ms(analyzer, tmp_path, kind, frames, suffix):
    """They are what the file gives its frames, also where it starts late."""
    times = TIMES[kind]
    path = write_faces_video(tmp_path / f"video.{suffix}", times, one_face, frames)
    result = analyzer.analyze(path)
    found = np.array([row.timestamp for row in result.frames])
    # B-frames move a transport stream; AVI counts frames, those held back for others too.
    moved = found[0] - times[0] if suffix in ("ts", "avi") else 0.0
    assert np.abs(found - (np.array(times) + moved)).max() < 0.01
    if suffix != "avi":  # of which FFmpeg tells no presentation times
        with av.open(str(path)) as container:
            assert found == pytest.approx([f.time for f in container.decode(video=0)], abs=1e-6)
    (track,) = result.tracks
    assert track.frames >= 0.99 * len(times)
    check_whole(result, len(times))
    for window in result.windows:
        assert window.end - window.start <= analyzer.windows.seconds


def test_portrait_video_is_analyzed_as_it_is_shown(analyzer, tmp_path):
    """The face is turned in the file, and upright on the screen."""
    frames = [np.rot90(frame_at([(130, 70)], k)) for k in range(24)]
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for image in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    result = analyzer.analyze(turn_video(path, 1))
    assert (result.about["video"]["width"], result.about["video"]["height"]) == (400, 240)
    (track,) = result.tracks
    assert track.frames == 24
    assert abs(result.frames[0].box.x + result.frames[0].box.width / 2 - 130 - SIDE / 2) < SIDE / 6


def test_from_and_to_count_as_the_tables_do(analyzer, tmp_path):
    late = steady(2.0, start=5.0)
    path = write_faces_video(tmp_path / "late.mp4", late, one_face)
    result = analyzer.analyze(path, start=5.5, end=6.0)
    assert [row.frame for row in result.frames] == list(range(6, 12))
    assert result.frames[0].timestamp == pytest.approx(5.5, abs=1e-6)
    assert result.about["video"]["start"] == pytest.approx(5.0, abs=1e-6)
    with pytest.raises(InputError, match=r"no frame from 1 s to 2 s; its frames are at 5 to 6\.9"):
        analyzer.analyze(path, start=1.0, end=2.0)


def test_from_to_and_every(analyzer, face_video, trained_run):
    result = analyzer.analyze(face_video, start=1.0, end=2.0)
    assert [row.frame for row in result.frames] == list(range(12, 24))
    assert result.frames[0].timestamp == pytest.approx(1.0)
    third = Analyzer(trained_run, "cpu", crop=analyzer.crop, window=1.0, every=3)
    result = third.analyze(face_video)
    assert [row.frame for row in result.frames] == list(range(0, 36, 3))
    assert result.tracks[0].frames == 12
    assert result.windows[0].last_frame == 9


def test_largest_and_large_enough_faces(trained_run, tmp_path):
    path = write_faces_video(tmp_path / "two.mp4", steady(1), lambda t: [(20, 60), (250, 80)])
    crop = CropProfile(1.5, 0, -0.1)
    assert len(Analyzer(trained_run, crop=crop).analyze(path).tracks) == 2
    assert len(Analyzer(trained_run, crop=crop, max_faces=1).analyze(path).tracks) == 1
    assert len(Analyzer(trained_run, crop=crop, min_face=100.0).analyze(path).tracks) == 0


def test_a_cut_ends_everybody(analyzer, tmp_path):
    def places(time):
        return [(20, 60), None] if time < 1.5 else [None, (250, 80)]

    images = [frame_at(places(k / RATE), k) for k in range(36)]
    for k in range(18, 36):
        images[k] = np.where(images[k] == frame_at([], 0), 255 - images[k], images[k])
    result = analyzer.analyze((image, k / RATE) for k, image in enumerate(images))
    assert result.cuts == (1.5,)
    assert [(t.first_frame, t.last_frame) for t in result.tracks] == [(0, 17), (18, 35)]


def test_a_window_is_sampled_and_cropped_as_a_clip_of_the_training_data(trained_run, tmp_path):
    """A clip that is a crop already gives what ``predict`` gives, to the crop's own precision."""
    frames = [frame_at([(130, 70)], k) for k in range(20)]
    model = from_pretrained(trained_run / "model")
    seen = []
    original = TrackWindows._given

    def given(self, drawn):
        seen.append([crop.number for crop in drawn])
        return original(self, drawn)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrackWindows, "_given", given)
        analyzer = Analyzer(model, "cpu", crop=CropProfile(1.5, 0, -0.1), window=5.0)
        analyzer.analyze((image, k / RATE) for k, image in enumerate(frames))
    from peclip_fast.data.transforms.sampling import sample_indices

    assert seen == [sample_indices(20, 16)]


def test_smoothing_goes_from_the_former_window_to_the_new_one(trained_run, face_video):
    crop = CropProfile(1.5, 0, -0.1)
    plain = Analyzer(trained_run, crop=crop, window=0.5, stride=0.25).analyze(face_video)
    smooth = Analyzer(trained_run, crop=crop, window=0.5, stride=0.25, smooth=1.0)
    found = smooth.analyze(face_video)
    keeps, expected = np.exp(-0.25), None
    for one, other in zip(plain.windows, found.windows, strict=True):
        now = np.array(one.probabilities)
        expected = now if expected is None else keeps * expected + (1 - keeps) * now
        assert other.probabilities == pytest.approx(expected, abs=1e-6)


def test_what_is_given_wrongly_is_named(analyzer, trained_run):
    image = np.zeros((48, 64, 3), np.uint8)
    for frames, told in (
        ([(image.astype(float), 0.0)], r"frame 0: expected a uint8 array"),
        ([(image[..., 0], 0.0)], r"frame 0: expected a uint8 array"),
        ([(image, 0.0), (image, 0.0)], r"frame 1: expected a time in seconds after 0, got 0"),
        ([(image, float("nan"))], r"frame 0: expected a time"),
    ):
        with pytest.raises(InputError, match=told):
            analyzer.analyze(frames)
    with pytest.raises(InputError, match="windows: expected one of window, stride"):
        Analyzer(trained_run, windows=3)
    for name in ("window", "stride", "every", "max_faces"):
        with pytest.raises(InputError, match=f"{name}: expected "):
            Analyzer(trained_run, **{name: 0})
    with pytest.raises(InputError, match="no run there"):
        Analyzer("nowhere")


def test_few_crops_are_in_memory(trained_run):
    """One window of each track, however long the video is."""
    analyzer = Analyzer(trained_run, crop=CropProfile(1.5, 0, -0.1), window=1.0, stride=0.5)
    most = []
    original = TrackWindows.add

    def add(self, *arguments):
        yield from original(self, *arguments)
        most.append(len(self._crops))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrackWindows, "add", add)
        analyzer.analyze((frame_at(one_face(k / RATE), k), k / RATE) for k in range(120))
    assert max(most) <= 2 * RATE
    assert torch.is_grad_enabled()


def test_no_window_waits_for_long(trained_run, monkeypatch):
    """Where others don't come, its rows are written all the same."""
    from peclip_fast.analyze.pipeline import classify

    now = [0.0]
    monkeypatch.setattr(classify, "monotonic", lambda: now[0])
    done = []

    class Said:
        def classify(self, windows):
            return [(1.0,)] * len(windows)

    queue = classify.WindowQueue(Said(), 100)
    queue.put("first", lambda window, found: done.append(window))
    now[0] = classify._PATIENCE - 1
    queue.put("second", lambda window, found: done.append(window))
    queue.poll()
    assert done == []
    now[0] += 2
    queue.poll()
    assert done == ["first", "second"]
