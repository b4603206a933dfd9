"""Training: the paper's schedule, its segments, what a run leaves, selection, losses that diverge."""

from __future__ import annotations

import json
import math
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from multiview import training
from multiview.audio import to_rate
from multiview.augment import Batch, augmented, choose
from multiview.blending import Algorithm1, DivergedError
from multiview.evaluation import Monitor
from multiview.experiment import recorder as recording
from multiview.experiment.evaluate import evaluate
from multiview.experiment.run import Run
from multiview.experiment.train import train
from multiview.history import Evaluation
from multiview.settings import from_record, make_settings
from multiview.splits import make_split
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.views import VIEWS, extract
from tests.helpers.paper import BRANCHES
from tests.helpers.runs import rows


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (1, 2e-5),
        (10, 2e-5),
        (11, 2e-4),
        (300, 2e-4),
        (301, 1.6e-4),
        (600, 1.6e-4),
        (601, 1.28e-4),
        (900, 1.28e-4),
        (901, 1.024e-4),
        (3000, 1.024e-4),
    ],
)
def test_schedule_of_the_paper(tiny_store: Store, epoch: int, rate: float) -> None:
    paper = make_settings(tiny_store, "multiview", 1, "paper", epochs=3000)
    assert paper.learning_rate_at(epoch) == pytest.approx(rate)
    schedule = training.learning_rate_schedule(paper, steps_per_epoch=7)
    first, last = 7 * (epoch - 1), 7 * epoch - 1  # steps count from 0
    for step in (first, last):
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5)


def test_cosine_falls_from_the_rate_to_nothing(tiny_store: Store) -> None:
    """Over the 58 epochs after the warm-up of 2: all of the rate in the first, half in the 30th, little in the last."""
    settings = make_settings(tiny_store, "mel", 1, "small", schedule="cosine", learning_rate=2e-3)
    rates = [settings.learning_rate_at(epoch) for epoch in range(1, 61)]
    assert rates[:2] == [1e-4, 1e-4] and rates[2] == 2e-3
    assert rates[2 + 29] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(2e-3 * math.sin(math.pi / 58 / 2) ** 2)


def test_presets_are_the_papers_and_a_quarter(tiny_store: Store) -> None:
    paper = make_settings(tiny_store, "multiview", 1, "paper")
    assert (paper.width, paper.batch_size, paper.window, paper.epochs) == (1.0, 64, 20, 1500)
    assert (paper.warm_up_epochs, paper.sample_rate) == (10, 22050)
    small = make_settings(tiny_store, "multiview", 1, "small")
    assert (small.width, small.sample_rate, small.epochs) == (0.25, 22050, 60)


def test_statistics_are_of_the_training_clips_alone(tiny_store: Store) -> None:
    split = make_split(tiny_store, 1, 0)
    mean, deviation = training.bin_statistics(tiny_store, split.train, "cqt")
    frames = np.concatenate(
        [tiny_store.values["cqt"][slice(*tiny_store.offsets["cqt"][clip : clip + 2])] for clip in split.train]
    ).astype(np.float64)
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(deviation, frames.std(axis=0), rtol=1e-4)


def test_bin_that_never_changes_has_a_floor(tiny_store: Store) -> None:
    store = types.SimpleNamespace(clip=lambda view, row: np.full((100, 64), -100.0, np.float32))
    mean, deviation = training.bin_statistics(store, np.array([0]), "mel")
    assert mean.tolist() == [-100.0] * 64 and deviation.tolist() == [0.1] * 64


@pytest.mark.parametrize("view", ["mel", "gammatone", "cqt"])
def test_band_that_is_silent_in_training_stays_within_bounds(view: str, rng: np.random.Generator) -> None:
    """Noise at ten levels that was sampled at 8 kHz: masks, and noise of the whole band, are within 15 deviations."""
    levels = 10 ** (np.linspace(-60, 0, 10)[:, np.newaxis] / 20) / 4
    narrow = [to_rate(wave.astype("float32"), 8000, 22050) for wave in levels * rng.standard_normal((10, 16_000))]
    clips = [extract(wave, 22050, [view])[view] for wave in narrow]
    store = types.SimpleNamespace(clip=lambda view, row: clips[row])
    mean, deviation = training.bin_statistics(store, np.arange(10), view)
    expected = np.std(np.concatenate(clips).astype(float), axis=0)
    heard = (expected > expected.max() / 4) | (mean > -90)
    np.testing.assert_allclose(deviation[heard], expected[heard], rtol=1e-5)
    np.testing.assert_array_equal(deviation[~heard], deviation.max())
    assert heard.all() == (view != "mel")  # gammatone filters have long skirts, and the CQT ends at 1.3 kHz

    segments = np.stack([clip[:64] for clip in clips])[..., np.newaxis]
    masked = augmented(Batch({view: segments}, np.arange(10), 22050, 10), choose("masks"), (0, 1, 2)).views[view]
    assert (masked != segments).any()
    wide = extract((rng.standard_normal(44_100) / 4).astype("float32"), 22050, [view])[view]
    for values in (masked[..., 0], wide):
        assert np.abs((values - mean) / deviation).max() < 15


def test_an_epoch_shows_one_segment_of_every_clip(tiny_store: Store, tiny_settings) -> None:
    clips = make_split(tiny_store, 1, 0).train
    settings = tiny_settings("multiview", batch_size=7)
    data = training.TrainingSegments(tiny_store, clips, settings)
    assert len(data) == math.ceil(len(clips) / 7)
    labels = [np.concatenate([data[index][1] for index in range(len(data))])]
    first = data[0][0]
    assert list(first) == list(VIEWS) and first["raw"].shape == (7, 33330, 1)
    np.testing.assert_array_equal(np.sort(labels[0]), np.sort(tiny_store.labels[clips]))
    np.testing.assert_array_equal(first["raw"], data[0][0]["raw"])
    data.follow().on_epoch_begin(1, {})
    labels.append(np.concatenate([data[index][1] for index in range(len(data))]))
    assert sorted(labels[0]) == sorted(labels[1]) and labels[0].tolist() != labels[1].tolist()


def test_all_systems_see_the_same_segments(tiny_store: Store, tiny_settings) -> None:
    clips = make_split(tiny_store, 1, 0).train
    joint, single = (
        training.TrainingSegments(tiny_store, clips, tiny_settings(system)) for system in ("concat", "mel")
    )
    np.testing.assert_array_equal(joint[1][0]["mel"], single[1][0]["mel"])
    np.testing.assert_array_equal(joint[1][1], single[1][1])


def test_fit_takes_every_batch_once_and_in_order(tiny_store: Store, tiny_settings) -> None:
    """What Keras asks for, evaluation by evaluation, is what `TrainingSegments` gives for those steps."""
    clips, settings = make_split(tiny_store, 1, 0).train, tiny_settings("raw", evaluation_interval=3)
    data, seen = training.TrainingSegments(tiny_store, clips, settings), []
    inputs = keras.Input((33330, 1), name="raw")
    model = keras.Model({"raw": inputs}, keras.layers.Dense(1)(keras.layers.Flatten()(inputs[:, :2])))
    model.compile(loss="mse", run_eagerly=True)
    step = model.train_step
    model.train_step = lambda batch: (seen.append(np.array(batch[0]["raw"])), step(batch))[1]
    model.fit(data, initial_epoch=1, epochs=3, shuffle=False, verbose=0, callbacks=[data.follow()])
    assert len(seen) == 6
    for index, batch in enumerate(seen):
        data.evaluations = 1 + index // 3
        np.testing.assert_array_equal(batch, data[index % 3][0]["raw"])


def test_history_has_a_row_an_evaluation(tiny_trained: Run) -> None:
    history = rows(tiny_trained)
    assert [row["evaluation"] for row in history] == [row["epoch"] for row in history] == [0, 1, 2, 3, 4, 5]
    columns = list(history[0])
    assert columns[:4] == ["evaluation", "epoch", "step", "learning_rate"]
    assert columns[4:] == [
        f"{name}_{branch}" for branch in BRANCHES for name in ("train_loss", "val_loss", "val_accuracy", "weight")
    ]
    steps = math.ceil(tiny_trained.read()["clips"]["train"] / 16)
    assert [row["step"] for row in history] == [steps * row["epoch"] for row in history]
    for branch in BRANCHES:  # near the entropy of guessing among three before training
        assert history[0][f"val_loss_{branch}"] == pytest.approx(math.log(3), abs=0.5)


def test_weights_follow_algorithm_1_and_are_in_the_kept_model(tiny_trained: Run) -> None:
    history, rule = rows(tiny_trained), Algorithm1(BRANCHES, window=2)
    for row in history:
        losses = [{b: row[f"{kind}_loss_{b}"] for b in BRANCHES} for kind in ("train", "val")]
        weights = rule.update(*losses, warm_up=row["evaluation"] < 1)
        np.testing.assert_allclose([row[f"weight_{b}"] for b in BRANCHES], weights, atol=1e-12)
    assert any(row["weight_mel"] != 0.2 for row in history)
    best = max(reversed(history), key=lambda row: row["val_accuracy_multiview"])  # the last of equals
    assert tiny_trained.read()["kept"]["evaluation"] == best["evaluation"]
    kept = keras.ops.convert_to_numpy(tiny_trained.load_model().branch_weights)
    np.testing.assert_allclose(kept, [best[f"weight_{b}"] for b in BRANCHES], atol=1e-6)


def test_kept_model_has_the_losses_of_its_row(tiny_trained: Run, tiny_store: Store) -> None:
    """The saved file, loaded again, gives the validation figures that the history says."""
    model, split = tiny_trained.load_model(), make_split(tiny_store, 1, 0)
    row = rows(tiny_trained)[tiny_trained.read()["kept"]["evaluation"]]
    expected, found = Evaluation.of_row(row, BRANCHES), Monitor(tiny_store, split, 16)(model)
    for part in ("train", "validation", "accuracy"):
        assert getattr(found, part) == pytest.approx(getattr(expected, part), rel=1e-4, abs=1e-6), part


def test_run_json_describes_the_run(tiny_trained: Run, tiny_store: Store) -> None:
    record = tiny_trained.read()
    assert record["status"] == "evaluated"
    assert record["settings"]["system"] == "multiview" and record["settings"]["epochs"] == 5
    assert record["store"]["fingerprint"] == tiny_store.fingerprint
    assert not Path(record["store"]["path"]).is_absolute()
    assert record["software"]["keras"] == keras.__version__
    assert record["machine"]["backend"] == keras.backend.backend()
    assert not tiny_trained.checkpoint.exists()


def test_same_seed_same_numbers_other_seed_others(tiny_store: Store, tiny_settings, tmp_path: Path) -> None:
    histories = [
        train(tiny_store, tiny_settings(seed=seed, epochs=2), tmp_path / name).history.read_text()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert histories[0] == histories[1] != histories[2]


def test_finished_run_is_left_as_it_is(tiny_trained: Run, capsys: pytest.CaptureFixture) -> None:
    before = (tiny_trained.model.stat().st_mtime_ns, tiny_trained.record.read_text())
    train(tiny_trained.store(), from_record(tiny_trained.read()["settings"]), tiny_trained.path)
    assert "trained already" in capsys.readouterr().out
    assert (tiny_trained.model.stat().st_mtime_ns, tiny_trained.record.read_text()) == before


def test_directory_of_another_run_is_refused_with_what_differs(
    tiny_store: Store, tiny_trained: Run, tiny_settings
) -> None:
    with pytest.raises(InputError, match="holds another run: .*system multiview instead of mel") as caught:
        train(tiny_store, tiny_settings("mel", epochs=3), tiny_trained.path)
    assert "epochs 5 instead of 3" in str(caught.value)


def test_diverging_training_stops_with_branch_and_time(
    tiny_store: Store, tiny_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "CHECKPOINT_SHARE", math.inf)
    settings = tiny_settings(warm_up_epochs=2, learning_rate=1e30)
    with pytest.raises(DivergedError, match="loss of branch mel is nan at evaluation 3"):
        train(tiny_store, settings, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.read()["status"] == "failed" and "branch mel" in run.read()["reason"]
    assert len(rows(run)) == 3 and run.checkpoint.exists() and not run.model.exists()
    with np.load(run.checkpoint) as state:
        assert all(np.isfinite(state[name]).all() for name in state if name.startswith("model/"))


def test_exploding_training_stops_and_keeps_the_state_before(
    tiny_store: Store, tiny_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of any size leave the batch-normalised network finite: sure of one of three classes, wrong for two.

    That costs 2/3 of -log(1e-7), 10.7, from evaluation 2 on, which is the first after the warm-up.
    """
    monkeypatch.setattr(recording, "CHECKPOINT_SHARE", math.inf)
    monkeypatch.setattr(recording, "EXPLODED_EVALUATIONS", 3)
    with pytest.raises(DivergedError, match="every branch was above 7 at 3 evaluations; at evaluation 4 it is mel 1"):
        train(tiny_store, tiny_settings(epochs=8, learning_rate=1e6), tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.read()["status"] == "failed" and "mel 1" in run.read()["reason"]
    assert [row["train_loss_mel"] > 7 for row in rows(run)] == [False, False, True, True, True]
    with np.load(run.checkpoint) as state:
        assert len(json.loads(str(state["record"]))["rows"]) == 2


def test_a_run_that_failed_and_was_finished_names_no_reason(tiny_store: Store, tiny_settings, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    settings, run = tiny_settings("mel", epochs=2), Run(tmp_path / "run")
    with pytest.raises(RuntimeError):
        train(tiny_store, settings, run.path, [keras.callbacks.LambdaCallback(on_epoch_end=fail)])
    assert run.read()["status"] == "failed" and run.read()["reason"] == "out of memory"
    train(tiny_store, settings, run.path)
    assert run.read()["status"] == "trained" and "reason" not in run.read()


def test_a_run_that_is_trained_again_is_not_done_before_it_is_tested(
    tiny_store: Store, tiny_settings, tmp_path: Path
) -> None:
    """Where the model is gone and the test is there, a kill would otherwise leave a run that counts as done."""
    run = train(tiny_store, tiny_settings(epochs=1), tmp_path / "run")
    evaluate(run)
    run.model.unlink()
    assert run.state() == "done"
    assert not run.begin(tiny_store, tiny_settings(epochs=1))
    assert run.state() == "interrupted" and not run.predictions.exists()
    train(tiny_store, tiny_settings(epochs=1), run.path)
    assert run.state() == "interrupted" and run.model.exists()
    evaluate(run)
    assert run.state() == "done"
    run.model.unlink()
    run.record.unlink()
    assert not run.begin(tiny_store, tiny_settings(epochs=1)) and run.state() == "interrupted"


def test_a_run_goes_on_with_the_backend_that_began_it(tiny_store: Store, tiny_settings, tmp_path: Path) -> None:
    """And on another machine, which its record names, too."""
    settings, run = tiny_settings("mel", epochs=2), Run(tmp_path / "run")
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(tiny_store, settings, run.path, [stop])
    now, checkpoint = run.read()["machine"], run.checkpoint.read_bytes()
    run.update(machine={**now, "backend": "another"})
    with pytest.raises(InputError, match="begun with the backend another, found .*set KERAS_BACKEND=another to go on"):
        train(tiny_store, settings, run.path)
    assert run.checkpoint.read_bytes() == checkpoint
    run.update(machine={**now, "processor": "elsewhere"})
    assert len(rows(train(tiny_store, settings, run.path))) == 3
    record = run.read()
    assert record["machine"]["processor"] == "elsewhere" and [each["machine"] for each in record["continued"]] == [now]


def test_a_run_that_failed_before_its_first_evaluation_is_none(
    tiny_store: Store, tiny_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other settings may take its place, a smaller batch where memory was too little, say."""
    run = Run(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr("multiview.evaluation.Monitor.__call__", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tiny_store, tiny_settings("mel", epochs=1), run.path)
    assert run.read()["status"] == "failed" and run.history.exists()
    assert train(tiny_store, tiny_settings("mel", epochs=1, batch_size=3), run.path).model.exists()


def test_spikes_and_single_branches_are_no_explosion(tiny_recorder) -> None:
    _, recorder, record = tiny_recorder("multiview")
    for losses in (*[[9] * 5] * 9, [1] * 5, *[[9] * 4 + [1]] * 10, *[[9] * 5] * 9):
        record(*losses)
    with pytest.raises(DivergedError, match="at evaluation 29 it is mel 9.0, .*multiview 8.0"):
        record(9, 9, 9, 9, 8)
    assert len(recorder.evaluations) == 30


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains(tiny_store: Store, tiny_settings, tmp_path: Path, precision: str) -> None:
    run = train(tiny_store, tiny_settings("gammatone", epochs=2, precision=precision), tmp_path / "run")
    model = run.load_model()
    assert model.get_layer("gammatone_conv1").compute_dtype == precision
    assert model.get_layer("gammatone_fc3").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"  # nothing built later is changed
    assert all(math.isfinite(value) for row in rows(run) for value in row.values())
