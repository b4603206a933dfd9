"""The promises about speed, on a few clips and with the benchmark's own code."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.step import measure_step
from tests.benchmarks.views import measure_segments, measure_views


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-0.5, 0.5, 5 * 44100).astype(np.float32) for _ in range(6)]


def test_views_are_four_times_faster_than_the_plain_way(noise: list[np.ndarray]) -> None:
    ours, plain = measure_views(noise)
    assert plain / ours >= 4


def test_random_segments_cost_little(noise: list[np.ndarray]) -> None:
    """At most 10 % of a training step of the small preset."""
    _, step, _ = measure_step("small", repeats=1)
    assert measure_segments(noise) < 0.1 * step
