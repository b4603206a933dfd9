"""The promises about speed, on a few clips, and the study of the weights, with the benchmarks' own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.benchmarks import weights
from tests.benchmarks.prepare import stages
from tests.benchmarks.step import measure_step
from tests.benchmarks.views import measure_segments, measure_views


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-0.5, 0.5, 5 * 44100).astype(np.float32) for _ in range(6)]


@pytest.mark.long
def test_views_are_four_times_faster_than_the_plain_way(noise: list[np.ndarray]) -> None:
    ours, plain = measure_views(noise)
    assert plain / ours >= 4


@pytest.mark.long
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


@pytest.mark.long
def test_random_segments_cost_little(noise: list[np.ndarray]) -> None:
    """At most 10 % of a training step of the small preset."""
    _, step, _ = measure_step("small", repeats=1)
    assert measure_segments(noise) < 0.1 * step


@pytest.mark.parametrize("interval", [1, 3])
def test_straight_losses_have_constant_weights(interval: int) -> None:
    """Smoothing keeps slopes t and s of training and validation, so G = s m and O = (t - s) m for every m-th one."""
    n, t, s = np.arange(60)[:, None], np.array([0.02, 0.03, 0.01]), np.array([0.02, 0.01, 0.002])
    found = weights.replay((5 - t * n, 5 - s * n), window=4, interval=interval)
    raw = s * interval / (((t - s) * interval) ** 2 + 1e-6)
    np.testing.assert_allclose(found[4:], np.tile(raw / raw.sum(), (len(found) - 4, 1)), rtol=1e-6)
    np.testing.assert_array_equal(found[:4], np.full((4, 3), 1 / 3))


def test_noise_of_a_straight_loss_is_found() -> None:
    n = np.arange(20_000)[:, None]
    noise = np.random.default_rng(0).normal(0, 0.1, (20_000, 2))
    assert weights.noise_of(3 - 1e-4 * n + noise) == pytest.approx(0.1, rel=0.03)


def test_weights_without_noise_are_slow_and_with_noise_flip() -> None:
    calm, wild = (
        weights.calmness(weights.stage_of(weights.replay(weights.synthetic(noise, evaluations=300), 20), (20, 300), 20))
        for noise in (0, 0.1)
    )
    # 1 / 120 to 1 / 500 of the losses' fall is made at an evaluation; the weights of five cannot move faster by much.
    assert calm["change"] < 0.005 and calm["one_hot"] == 0
    assert wild["change"] > 0.5 and wild["one_hot"] > 0.1


def test_tables_of_the_weights(tmp_path: Path) -> None:
    results = Path(__file__).parents[1] / "results" / "esc10" / "small"
    table = weights.recorded_table(results).splitlines()
    assert len(table) == 2 + 2 * 5 and table[4].endswith("| – | – |")  # too few evaluations for a window of 10
    table = weights.rules_table(results, alone=False).splitlines()
    assert len(table) == 2 + len(weights.RULES)
    for start in (
        "| `paper` | 47 / 38 / 0.27 | 0.14 |",
        "| `signed` | 29 / 0 / 0.38 |",
        "| `slopes` | 24 / 2 / 0.24 |",
    ):
        assert sum(row.startswith(start) for row in table) == 1
    table = weights.noise_table(20, 0, noises=[0]).splitlines()
    assert table[2] == "| 0 | `paper` | 0 / 0 / 0.00 / 0.00 | 22 / 0 / 0.00 / 0.00 | 50 / 50 / 0.00 / 0.00 |"
    weights.draw(tmp_path / "weights.png", 0, 2, shown=10)
    assert (tmp_path / "weights.png").stat().st_size > 10_000
