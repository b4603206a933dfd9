"""The promises about speed, on a few clips, and the study of the weights, with the benchmarks' own code."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import soundfile

from multiview.experiment import train as experiment
from multiview.experiment.results import collect
from multiview.networks import build_network
from multiview.settings import PRESETS
from multiview.splits import make_split
from multiview.training import TrainingSegments, make_network
from tests import benchmarks
from tests.benchmarks import curves, ensembles, many, updates, weights
from tests.benchmarks.backbones import multiplications
from tests.benchmarks.prepare import stages
from tests.benchmarks.step import Steps, StepsOf, compare, main, measure_step, profile
from tests.benchmarks.views import measure_segments, measure_views
from tests.helpers.paper import BRANCHES, SYSTEMS


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-0.5, 0.5, 5 * 44100).astype(np.float32) for _ in range(6)]


@pytest.mark.parametrize("name", [each.name for each in pkgutil.iter_modules(benchmarks.__path__)])
def test_benchmarks_find_what_they_take_from_the_project(name: str) -> None:
    assert importlib.import_module(f"tests.benchmarks.{name}").__doc__


@pytest.mark.long
def test_views_are_four_times_faster_than_the_plain_way(noise: list[np.ndarray]) -> None:
    ours, plain = measure_views(noise)
    assert plain / ours >= 4


@pytest.mark.long
def test_extraction_of_a_core_is_fast(noise: list[np.ndarray]) -> None:
    """250 seconds of audio a second, views alone; half of it in doubt of a busy machine."""
    ours, _ = measure_views(noise)
    assert 1 / ours >= 125


def test_many_clips_go_all_the_way(tmp_path: Path) -> None:
    """Sixty of them; each stage in a process of its own, whose memory is told."""
    rows = many.run(tmp_path, clips=60, epochs=1, preset="demo")
    assert [name for name, _, _ in rows] == ["prepare", "1 epochs and the test", "report"]
    assert all(seconds > 0 and 0.05 < memory < 4 for _, seconds, memory in rows)
    assert (tmp_path / "results" / "report.html").is_file()


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


@pytest.mark.long
def test_a_step_takes_two_thirds_of_the_plain_one() -> None:
    """Of stock Keras layers; 0.54 on an idle machine."""
    ours, plain = compare([Steps("small", 32, 22050, "multiview", plain=other) for other in (False, True)], 7)
    assert np.median(ours[1:] / plain[1:]) <= 0.67


def test_a_step_is_compared_with_that_of_another_checkout() -> None:
    """Here of this one: the other process has its code from there, and takes a step when it is told."""
    here = Path(__file__).parents[1]
    other = StepsOf(here, ["--preset", "demo", "--batch", "2", "--sample-rate", "22050", "--system", "mel"])
    ours, theirs = compare([Steps("demo", 2, 22050, "mel"), other], 5)
    assert len(ours) == len(theirs) == 6
    assert 0.1 < np.median(ours[1:] / theirs[1:]) < 10
    with pytest.raises(SystemExit, match="expected --against plain or the working tree of a commit"):
        StepsOf(here / "docs", [])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_is_set_against_products_of_its_precision(
    precision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The share is that of the figures beside it, and the multiplications are three times those of a forward pass."""
    line = (
        f"step --preset demo --batch 4 --sample-rate 22050 --system mel --repeats 1 --peak 256 --precision {precision}"
    )
    monkeypatch.setattr("sys.argv", line.split())
    policy = keras.config.dtype_policy()
    try:
        main()
    finally:
        keras.config.set_dtype_policy(policy)
    *_, memory, said = capsys.readouterr().out.splitlines()
    work, speed, share, most = map(float, re.findall(r"([\d.e+-]+) (?:TFLOP|%)", said))
    assert memory.startswith("peak memory") and said.endswith(f" of products of 256 x 256 in {precision}")
    network = build_network("mel", 50, 22050, PRESETS["demo"].width)
    assert work == pytest.approx(6 * 4 * multiplications(network) / 1e12, rel=0.005)
    assert 0 < speed < 1 and share == pytest.approx(100 * speed / most, rel=0.02)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's profiler")
def test_operations_of_a_step_are_counted() -> None:
    """Those of mel alone: 6 convolutions and as many gradients of their kernels, of their inputs one less."""
    found = {
        kind.rpartition("Native")[-1]: calls for kind, (_, calls) in profile(Steps("demo", 2, 22050, "mel")).items()
    }
    gradients = [calls for kind, calls in found.items() if kind.startswith("Conv2DBackpropFilter")]
    assert (sum(gradients), found["Conv2DBackpropInput"]) == pytest.approx((6, 5))


def evidence(name: str) -> Path:
    """Results of the project's own, which a source distribution has not."""
    found = Path(__file__).parents[1] / "results" / name
    if not found.is_dir():
        pytest.skip(f"needs results/{name} of a checkout")
    return found


def test_curves_of_two_grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """The second with each validation loss 0.25 higher, and a system of its own, which is left out."""
    source = evidence("esc10/small")
    for grid, systems in (("before", ["mel"]), ("after", ["mel", "cqt"])):
        for system in systems:
            shutil.copytree(source / system / "fold1", tmp_path / grid / system / "fold1")
    history = tmp_path / "after" / "mel" / "fold1" / "history.csv"
    table = pd.read_csv(history)
    table["val_loss_mel"] += 0.25
    table.to_csv(history, index=False)
    picture = tmp_path / "curves.png"
    monkeypatch.setattr("sys.argv", ["curves", str(tmp_path / "before"), str(tmp_path / "after"), "--to", str(picture)])
    curves.main()
    said = capsys.readouterr().out
    assert "mel, train loss: 0.000 apart" in said and "mel, validation loss: 0.250 apart" in said
    assert "72.50 %" in said and "cqt" not in said and picture.stat().st_size > 5000


def test_replayed_ensembles_count_folds_alike(tmp_path: Path) -> None:
    """Two seeds of fold 1 and one of fold 2, trained with uniform weights: what metrics.json says of each by itself."""
    source = evidence("esc10/modern_26_clips") / "multiview"
    scores = {}
    for name in ("fold1", "fold1_seed1", "fold2"):
        shutil.copytree(source / name, tmp_path / "multiview" / name, ignore=shutil.ignore_patterns("model.keras"))
        scores[name] = json.loads((source / name / "metrics.json").read_text())["accuracy"]
    found = ensembles.replayed(collect(tmp_path), window=10)["mean"]
    for row, name in (("`uniform`", "self_ensemble"), ("multiview", "multiview"), ("raw", "raw")):
        first, second, other = (100 * each[name] for each in scores.values())
        assert found[row] == pytest.approx(((first + second) / 2 + other) / 2)


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


def straight_histories(results: Path) -> None:
    """Runs whose losses fall along straight lines, so that the rules' weights are constant once they may move."""
    n = np.arange(61)
    for system in SYSTEMS:
        branches = BRANCHES if system == "multiview" else ["multiview" if system == "concat" else system]
        columns = {"evaluation": n}
        for number, branch in enumerate(branches, start=1):
            columns |= {
                f"train_loss_{branch}": 5 - 0.02 * number * n / 5,
                f"val_loss_{branch}": 5 - 0.01 * number * n / 5,
            }
        path = results / system / "fold1" / "history.csv"
        path.parent.mkdir(parents=True)
        pd.DataFrame(columns).to_csv(path, index=False)


def test_tables_of_the_weights(tmp_path: Path) -> None:
    straight_histories(tmp_path)
    table = weights.recorded_table(tmp_path).splitlines()
    assert len(table) == 2 + 2 * 5 and all(row.count(" / 0.00") >= 2 for row in table[2:])  # none moves
    table = weights.rules_table(tmp_path, alone=False).splitlines()
    assert len(table) == 2 + len(weights.RULES)
    (uniform,) = (row for row in table if row.startswith("| `uniform` |"))
    assert uniform.startswith("| `uniform` | 0 / 100 / 0.00 | 0.20 |")
    table = weights.noise_table(20, 0, noises=[0]).splitlines()
    assert table[2] == "| 0 | `paper` | 0 / 0 / 0.00 / 0.00 | 22 / 0 / 0.00 / 0.00 | 50 / 50 / 0.00 / 0.00 |"
    weights.draw(tmp_path / "weights.png", 0, 2, shown=10)
    assert (tmp_path / "weights.png").stat().st_size > 10_000


def test_weights_on_updates_stop_a_branch_and_speed_up_another(tiny_store, tiny_settings) -> None:
    """All weight on mel: its parameters go five times as far as with equal weights on the losses, no others move."""
    settings = tiny_settings("multiview", epochs=1, warm_up_epochs=0)
    batch, labels = TrainingSegments(tiny_store, np.arange(4), settings)[0]

    def step(weights: list[float]) -> tuple[float, list[tuple[str, np.ndarray]]]:
        keras.utils.set_random_seed(0)
        model = make_network(tiny_store, settings, make_split(tiny_store, 1, 0))
        experiment.compile_network(model, settings, 1)
        model.branch_weights.assign(weights)
        before = [keras.ops.convert_to_numpy(each) for each in model.trainable_variables]
        loss = model.train_on_batch(batch, labels)
        after = [keras.ops.convert_to_numpy(each) for each in model.trainable_variables]
        paths = [each.path for each in model.trainable_variables]
        return loss, [(path, new - old) for path, new, old in zip(paths, after, before, strict=True)]

    plain_loss, plain = step([0.2] * 5)
    with updates.weights_on_updates():
        loss, moved = step([1.0, 0, 0, 0, 0])
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for (path, way), (_, expected) in zip(moved, plain, strict=True):
        factor = 5 if "mel_" in path else 0
        np.testing.assert_allclose(way, factor * expected, rtol=1e-3, atol=2e-6, err_msg=path)
    assert max(np.abs(way).max() for _, way in moved) > 1e-4
