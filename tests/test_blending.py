"""Algorithm 1 on traces computed by hand and against a plain transcription, and its callback."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers, ops

from multiview.blending import AdaptiveBlending, AdaptiveWeights, DivergedError
from multiview.networks import BlendedModel

AB = ("a", "b")


def update(rule: AdaptiveWeights, train: tuple, validation: tuple, **options) -> np.ndarray:
    return rule.update(
        dict(zip(rule.branches, train, strict=True)), dict(zip(rule.branches, validation, strict=True)), **options
    )


def test_trace_by_hand() -> None:
    """W = 1, so nothing is smoothed.

    n = 0: references (2, 2) and (2, 2); uniform.
    n = 1: a has G = 0.4, O = 0.5 - 0.4 = 0.1, so 0.4 / 0.010001 = 39.996; b has G = 0.1,
           O = 1.0 - 0.1 = 0.9, so 0.1 / 0.810001 = 0.12346; a's share is 0.99692.
    n = 2: references are now a (1.5, 1.6), b (1.0, 1.9). a has G = -0.1, so 0; b has G = 0.1 and all.
    n = 3: a has G = 1.6 - 1.2 = 0.4, O = (1.5 - 1.1) - 0.4 = 0, so 0.4 / 1e-6; b has G = 0.
    """
    rule = AdaptiveWeights(AB, window=1)
    assert update(rule, (2, 2), (2, 2)).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(update(rule, (1.5, 1.0), (1.6, 1.9)), [0.99692, 0.00308], atol=1e-5)
    assert update(rule, (1.4, 0.9), (1.7, 1.8)).tolist() == [0, 1]
    # The reference of a stayed at 1.6, the best so far, when its loss rose to 1.7.
    np.testing.assert_allclose(rule.references["validation"], [1.6, 1.8])
    np.testing.assert_allclose(update(rule, (1.0, 0.9), (1.2, 1.8)), [1, 0], atol=1e-6)


def test_smoothing_by_hand() -> None:
    """W = 2: smoothed validation losses of a are 4, 3.5, 2.5, of b 4, 4, 3.5.

    n = 2: references after n = 1 are a 3.5 and b 4 in validation, and in training a 3.5 and b 3.
    a: G = 1, training falls from 3.5 to 2.5, so O = 0: 1 / 1e-6. b: G = 0.5, O = (3 - 1) - 0.5 = 1.5:
    0.5 / 2.250001 = 0.22222.
    """
    rule = AdaptiveWeights(AB, window=2)
    update(rule, (4, 4), (4, 4))
    assert update(rule, (3, 2), (3, 4)).tolist() == [0.5, 0.5]  # n < W
    weights = update(rule, (2, 0), (2, 3))
    assert weights[1] == pytest.approx(0.22222 / 1e6, rel=1e-4)
    assert weights.sum() == pytest.approx(1)


def test_references_move_only_after_the_weight_is_computed() -> None:
    """A branch that improves at every evaluation would have G = 0 if its reference moved first."""
    rule = AdaptiveWeights(AB, window=1)
    update(rule, (2, 2), (2, 2))
    for n in range(1, 5):
        falling = 2 - 0.2 * n
        assert update(rule, (falling, 2), (falling, 2)).tolist() == [1, 0]


def test_all_zero_gives_uniform() -> None:
    rule = AdaptiveWeights(("a", "b", "c", "d"), window=1)
    update(rule, (1,) * 4, (1,) * 4)
    assert update(rule, (0.5,) * 4, (1.5,) * 4).tolist() == [0.25] * 4


def test_uniform_in_the_window_and_the_warm_up() -> None:
    rule = AdaptiveWeights(AB, window=3)
    weights = [update(rule, (2 - n, 2), (2 - n, 2), warm_up=n < 5) for n in np.arange(8) / 10 * 10]
    assert [w.tolist() for w in weights[:5]] == [[0.5, 0.5]] * 5
    assert weights[5].tolist() == [1, 0]


def test_fixed_references_stay_those_of_evaluation_0() -> None:
    """The trace by hand with W = 1: at n = 2, a has G = 2 - 1.7 = 0.3 and O = (2 - 1.4) - 0.3 = 0.3, so
    0.3 / 0.090001; b has G = 0.2 and O = (2 - 0.9) - 0.2 = 0.9, so 0.2 / 0.810001."""
    rule = AdaptiveWeights(AB, window=1, blending="fixed_references")
    update(rule, (2, 2), (2, 2))
    first = update(rule, (1.5, 1.0), (1.6, 1.9))
    np.testing.assert_allclose(first, [0.99692, 0.00308], atol=1e-5)  # nothing has moved yet
    a, b = 0.3 / 0.090001, 0.2 / 0.810001
    np.testing.assert_allclose(update(rule, (1.4, 0.9), (1.7, 1.8)), [a / (a + b), b / (a + b)], rtol=1e-9)
    np.testing.assert_array_equal(rule.references["validation"], [2, 2])


def test_uniform_blending_never_moves() -> None:
    rule = AdaptiveWeights(AB, window=1, blending="uniform")
    for n in range(4):
        assert update(rule, (2 - n, 2), (2 - n, 2)).tolist() == [0.5, 0.5]


losses_of_two = st.lists(st.tuples(*[st.floats(0, 5)] * 4), min_size=2, max_size=12)


@given(losses=losses_of_two, window=st.integers(1, 4))
def test_averaged_weights_are_the_mean_of_the_papers(losses: list[tuple], window: int) -> None:
    paper, averaged = (AdaptiveWeights(AB, window, blending) for blending in ("paper", "averaged"))
    weights = []
    for train_a, train_b, validation_a, validation_b in losses:
        weights.append(update(paper, (train_a, train_b), (validation_a, validation_b)))
        mean = update(averaged, (train_a, train_b), (validation_a, validation_b))
        np.testing.assert_allclose(mean, np.mean(weights[-window:], axis=0), atol=1e-12)
        assert mean.sum() == pytest.approx(1)


def test_unknown_blending_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a blending of paper, fixed_references, uniform, averaged"):
        AdaptiveWeights(AB, blending="clever")


def test_one_branch_always_has_all_the_weight() -> None:
    rule = AdaptiveWeights(("mel",), window=1)
    assert [update(rule, (loss,), (loss,)).tolist() for loss in (2, 1, 3, 1)] == [[1.0]] * 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_names_branch_and_evaluation(bad: float) -> None:
    rule = AdaptiveWeights(AB, window=1)
    update(rule, (2, 2), (2, 2))
    with pytest.raises(DivergedError, match="validation loss of branch b is (nan|inf) at evaluation 1"):
        update(rule, (1, 1), (1, bad))
    assert len(rule.history["train"]) == len(rule.history["validation"]) == 1


def transcription(train: list, validation: list, window: int) -> list[list[float]]:
    """Algorithm 1 line by line, one branch after the other, in plain Python."""
    branches, weights = len(train[0]), []
    best = {}
    for n in range(len(train)):
        raw = []
        for k in range(branches):
            low = max(0, n - window + 1)
            smooth_train = sum(row[k] for row in train[low : n + 1]) / (n + 1 - low)
            smooth_validation = sum(row[k] for row in validation[low : n + 1]) / (n + 1 - low)
            reference_train, reference_validation = best.get(k, (smooth_train, smooth_validation))
            G = reference_validation - smooth_validation
            O = (reference_train - smooth_train) - (reference_validation - smooth_validation)  # noqa: E741
            raw.append(max(G, 0) / (O * O + 1e-6))
            best[k] = (min(reference_train, smooth_train), min(reference_validation, smooth_validation))
        total = sum(raw)
        uniform = n < window or total == 0
        weights.append([1 / branches] * branches if uniform else [w / total for w in raw])
    return weights


losses = st.lists(st.lists(st.floats(0.01, 5), min_size=3, max_size=3), min_size=1, max_size=30)


@given(train=losses, validation=losses, window=st.integers(1, 8))
def test_equals_the_transcription(train: list, validation: list, window: int) -> None:
    count = min(len(train), len(validation))
    rule = AdaptiveWeights(("a", "b", "c"), window)
    found = [update(rule, t, v) for t, v in zip(train[:count], validation[:count], strict=True)]
    np.testing.assert_allclose(found, transcription(train[:count], validation[:count], window), atol=1e-5)
    assert np.all(np.array(found) >= 0)
    np.testing.assert_allclose(np.sum(found, axis=1), 1)


def two_branch_model(width: int = 64) -> BlendedModel:
    inputs = {name: keras.Input((20,), name=name) for name in AB}
    outputs = {
        name: layers.Dense(2, activation="softmax", name=f"{name}_out")(
            layers.Dense(width, activation="relu", name=f"{name}_hidden")(inputs[name])
        )
        for name in AB
    }
    return BlendedModel(inputs, outputs)


class Measure(keras.callbacks.Callback):
    """Cross-entropy of both branches on given data."""

    def __init__(self, train: tuple, validation: tuple) -> None:
        super().__init__()
        self.sets = {"train": train, "val": validation}

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.on_epoch_end(-1, logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for kind, (x, y) in self.sets.items():
            for branch, p in self.model.predict_on_batch(x).items():
                logs[f"{kind}_loss_{branch}"] = float(
                    -np.log(ops.convert_to_numpy(p)[np.arange(len(y)), y] + 1e-7).mean()
                )


def make_data(rng: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Input a tells the label, input b is noise that can only be learned by heart."""
    y = rng.integers(0, 2, count)
    a = rng.normal(size=(count, 20)) + 0.7 * (2 * y[:, None] - 1)
    return {"a": a.astype("float32"), "b": rng.normal(size=(count, 20)).astype("float32")}, y


@pytest.mark.backend
def test_overfitting_branch_loses_weight_against_one_that_generalises(rng: np.random.Generator) -> None:
    keras.utils.set_random_seed(1)
    model = two_branch_model()
    train, validation = make_data(rng, 64), make_data(rng, 256)
    model.compile(optimizer=keras.optimizers.Adam(0.003))
    blending = AdaptiveBlending(AdaptiveWeights(AB, window=3))
    history = model.fit(*train, epochs=15, verbose=0, callbacks=[Measure(train, validation), blending]).history
    weights = np.array([history["weight_a"], history["weight_b"]])
    assert history["train_loss_b"][-1] < history["train_loss_b"][0]
    assert history["val_loss_a"][-1] < history["val_loss_a"][0]
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    assert weights[0, 3:].mean() > 0.9
    np.testing.assert_allclose(ops.convert_to_numpy(model.branch_weights), weights[:, -1], atol=1e-6)


@pytest.mark.backend
def test_assigned_weights_steer_the_compiled_step_without_recompiling(rng: np.random.Generator) -> None:
    """With all the weight on one branch, gradient descent leaves the other exactly where it is."""
    model, traces = two_branch_model(), []
    compute_loss = model.compute_loss
    model.compute_loss = lambda *args, **kwargs: traces.append(1) or compute_loss(*args, **kwargs)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    x, y = make_data(rng, 32)
    model.fit(x, y, epochs=1, verbose=0, batch_size=32)
    compiled = len(traces)
    for weights, moving in (([1, 0], "a"), ([0, 1], "b")):
        model.branch_weights.assign(weights)
        before = {v.path: ops.convert_to_numpy(v) for v in model.trainable_variables}
        model.fit(x, y, epochs=2, verbose=0, batch_size=32)
        moved = {
            path.split("/")[-2][0]: not np.array_equal(before[path], ops.convert_to_numpy(v))
            for v in model.trainable_variables
            for path in [v.path]
        }
        assert moved == {"a": moving == "a", "b": moving == "b"}
    assert len(traces) == compiled


@pytest.mark.backend
def test_loss_is_equation_2(rng: np.random.Generator) -> None:
    model = two_branch_model()
    x, y = make_data(rng, 16)
    model.branch_weights.assign([0.3, 0.7])
    p = {name: ops.convert_to_numpy(value) for name, value in model.predict_on_batch(x).items()}
    expected = sum(w * -np.log(p[b][np.arange(16), y]).mean() for b, w in (("a", 0.3), ("b", 0.7)))
    assert float(model.compute_loss(x, y, p)) == pytest.approx(expected, rel=1e-5)


def test_callback_without_losses_says_what_is_missing() -> None:
    callback = AdaptiveBlending(AdaptiveWeights(AB))
    with pytest.raises(KeyError, match="train_loss_a.*put the callback that measures them before"):
        callback.on_train_begin({})


def test_replay_restores_the_rule(rng: np.random.Generator) -> None:
    def row(values: np.ndarray) -> dict:
        names = ("train_loss_a", "train_loss_b", "val_loss_a", "val_loss_b")
        return dict(zip(names, values, strict=True))

    rows = [row(values) for values in rng.uniform(0.5, 2, (12, 4))]
    undisturbed, continued = (AdaptiveBlending(AdaptiveWeights(AB, window=3), warm_up=4) for _ in range(2))
    undisturbed.replay(rows)
    continued.replay(rows[:7])
    continued.replay(rows[7:])
    for name in ("train", "validation"):
        np.testing.assert_array_equal(undisturbed.rule.references[name], continued.rule.references[name])
    assert undisturbed.rule.history == continued.rule.history
