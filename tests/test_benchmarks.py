"""The promises about speed, on a few clips and with the benchmark's own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.benchmarks.prepare import stages
from tests.benchmarks.step import measure_step
from tests.benchmarks.views import measure_segments, measure_views


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-0.5, 0.5, 5 * 44100).astype(np.float32) for _ in range(6)]


def test_views_are_four_times_faster_than_the_plain_way(noise: list[np.ndarray]) -> None:
    ours, plain = measure_views(noise)
    assert plain / ours >= 4


def test_extraction_of_a_core_is_fast(noise: list[np.ndarray]) -> None:
    """250 seconds of audio a second, views alone; half of it in doubt of a busy machine."""
    ours, _ = measure_views(noise)
    assert 1 / ours >= 125


def test_stages_are_all_measured(noise: list[np.ndarray], tmp_path: Path) -> None:
    paths = []
    for number, waveform in enumerate(noise[:3]):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], waveform, 44100)
    spent = stages(paths, 22050, tmp_path)
    assert list(spent) == ["read", "resample", "STFT", "mel and gammatone filters", "CQT", "write"]
    assert min(spent.values()) > 0


def test_random_segments_cost_little(noise: list[np.ndarray]) -> None:
    """At most 10 % of a training step of the small preset."""
    _, step, _ = measure_step("small", repeats=1)
    assert measure_segments(noise) < 0.1 * step
