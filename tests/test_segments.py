"""Segments: aligned across views, within the clip, evenly spaced at test."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import multiview
from multiview.audio import AudioError
from multiview.segments import Segments, cut, even_starts, random_starts
from multiview.segments import test_starts as starts_at_test
from multiview.views import Excerpt, extract, geometry, paper_views

LENGTHS = {44100: (75, 75, 65, 66650), 22050: (75, 75, 65, 33330)}
HOPS = {44100: (882, 882, 1024, 1), 22050: (441, 441, 512, 1)}


def clip(rate: int, values: dict[str, np.ndarray]) -> Excerpt:
    """Views of a whole clip."""
    return Excerpt(rate, values, offset=0, begin=0, end=0, final=True)


@settings(max_examples=200, deadline=None)
@given(samples=st.integers(33516, 3_000_000), rate=st.sampled_from([44100, 22050]))
def test_last_start_is_the_last_that_every_view_can_give(samples: int, rate: int) -> None:
    size = geometry(rate)
    samples = max(samples, size.segment_samples)
    frames = {
        "mel": 1 + (samples - rate // 25) // (rate // 50),
        "gammatone": 1 + (samples - rate // 25) // (rate // 50),
        "cqt": 1 + samples // {44100: 1024, 22050: 512}[rate],
        "raw": samples,
    }

    def fits(start: int) -> bool:
        return all(
            start // hop + length <= frames[view]
            for view, hop, length in zip(paper_views(), HOPS[rate], LENGTHS[rate], strict=True)
        )

    last = size.last_start(samples)
    assert last >= 0 and fits(last) and not fits(last + 1)


def test_views_of_a_segment_show_the_same_moment(rng: np.random.Generator) -> None:
    """A click at a known sample is at the same time in all four views of every segment."""
    rate, click = 44100, 120_000
    waveform = np.zeros(5 * rate, np.float32)
    waveform[click : click + 8] = 0.9
    starts = rng.integers(click - 60_000, click - 10_000, 20)
    batch = cut(clip(rate, extract(waveform, rate)), Segments(np.zeros(20, int), starts), paper_views())
    assert [batch[view].shape for view in paper_views()] == [
        (20, 75, 64, 1),
        (20, 75, 64, 1),
        (20, 65, 64, 1),
        (20, 66650, 1),
    ]
    for row, start in enumerate(starts):
        seconds = (click - start) / rate
        assert np.abs(batch["raw"][row, :, 0]).argmax() / rate == pytest.approx(seconds, abs=1e-3)
        for view, hop, centre in (("mel", 882, 882), ("gammatone", 882, 882), ("cqt", 1024, 0)):
            frame = batch[view][row, :, :, 0].sum(axis=1).argmax()
            assert (frame * hop + centre) / rate == pytest.approx(seconds, abs=0.06), view


@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="this system takes no advice about files")
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 20_000), data=st.data())
def test_a_mapped_file_is_asked_for_all_segments_first(tmp_path: Path, offset: int, data: st.DataObject) -> None:
    """Whole pages that hold exactly what is cut, wherever the values begin in the file; the last one at its end."""
    asked = []

    class Map(mmap.mmap):
        def madvise(self, advice: int, start: int, length: int) -> None:
            assert advice == mmap.MADV_WILLNEED
            asked.append((start, length))
            super().madvise(advice, start, length)

    samples = np.random.default_rng(offset).integers(-9, 9, 90_000).astype(np.int16)
    (tmp_path / "values").write_bytes(bytes(offset) + samples.tobytes())
    last = len(samples) - LENGTHS[22050][3]
    starts = np.array([*data.draw(st.lists(st.integers(0, last), max_size=3)), 0, last])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmap, "mmap", Map)
        mapped = np.memmap(tmp_path / "values", np.int16, "r", offset, samples.shape)
        found = cut(clip(22050, {"raw": mapped}), Segments(np.zeros(len(starts), int), starts), ["raw"])["raw"]
    kept = cut(clip(22050, {"raw": samples}), Segments(np.zeros(len(starts), int), starts), ["raw"])["raw"]
    np.testing.assert_array_equal(found, kept)
    base = offset - offset % mmap.ALLOCATIONGRANULARITY  # of the map in the file
    for start, (page, length) in zip(starts, asked, strict=True):
        assert page % mmap.PAGESIZE == 0 and base + page <= offset + 2 * start < base + page + mmap.PAGESIZE
        assert base + page + length == offset + 2 * (start + LENGTHS[22050][3])


def test_raw_is_scaled_to_plus_minus_one() -> None:
    values = {"raw": np.array([-32768, 16384] + [0] * 40_000, np.int16)}
    batch = cut(clip(22050, values), Segments(np.array([0]), np.array([0])), ["raw"])
    assert batch["raw"].dtype == np.float32
    assert batch["raw"][0, :2, 0].tolist() == [-1.0, 0.5]


@given(last=st.integers(0, 10**7), count=st.integers(1, 60))
def test_even_starts_span_the_clip(last: int, count: int) -> None:
    starts = even_starts(last, count)
    assert len(starts) == count and starts[0] == 0
    if count > 1:
        assert starts[-1] == last
        assert np.ptp(np.diff(starts)) <= 1


@pytest.mark.parametrize(
    ("samples", "expected"), [(220500, 5), (222528, 5), (218816, 5), (1323000, 30), (1, 1), (44100, 1)]
)
def test_a_clip_of_s_seconds_gives_s_segments(samples: int, expected: int) -> None:
    starts = starts_at_test(samples, geometry(44100))
    assert len(starts) == expected and starts.dtype == np.int64


def test_random_starts_reach_both_ends() -> None:
    starts = random_starts(np.full(2000, 3), np.random.default_rng(0))
    assert set(starts.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("seconds", [0.5, 7.0, 150.0])
def test_segments_of_a_file(tmp_path: Path, rng: np.random.Generator, seconds: float) -> None:
    """Those of the views of the whole file, S of S seconds, also where a long one is read in parts."""
    soundfile.write(tmp_path / "a.wav", rng.uniform(-0.5, 0.5, round(seconds * 22050)), 22050, subtype="FLOAT")
    waveform, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    found = multiview.segments_of(tmp_path / "a.wav", 22050)
    starts = starts_at_test(len(waveform), geometry(22050))
    expected = cut(clip(22050, extract(waveform, 22050)), Segments(np.zeros_like(starts), starts), paper_views())
    assert list(found) == list(paper_views()) and len(starts) == max(1, round(seconds))
    for view, values in found.items():
        assert values.dtype == np.float32 and values.shape == (len(starts), *expected[view].shape[1:])
        np.testing.assert_allclose(values, expected[view], atol=0.02)
    assert list(multiview.segments_of(tmp_path / "a.wav", 44100, ["raw"])) == ["raw"]
    with pytest.raises(AudioError, match="no such file"):
        multiview.segments_of(tmp_path / "b.wav", 22050)
