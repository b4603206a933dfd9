"""The callback that blends: measured losses to weights that the compiled step reads, Eq. (2), and who hears of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from multiview.blending import Algorithm1
from multiview.callbacks import AdaptiveBlending
from multiview.history import Losses
from multiview.networks import BlendedModel
from multiview.optimizer import Adam

AB = ("a", "b")


def two_branch_model(width: int = 64) -> BlendedModel:
    inputs = {name: keras.Input((20,), name=name) for name in AB}
    outputs = {
        name: layers.Dense(2, activation="softmax", name=f"{name}_out")(
            layers.Dense(width, activation="relu", name=f"{name}_hidden")(inputs[name])
        )
        for name in AB
    }
    return BlendedModel(inputs, outputs)


def measuring(train: tuple, validation: tuple):
    """Cross-entropy of both branches on given data."""

    def losses(model: keras.Model, x: dict, y: np.ndarray) -> dict[str, float]:
        found = {
            branch: ops.convert_to_numpy(p)[np.arange(len(y)), y] for branch, p in model.predict_on_batch(x).items()
        }
        return {branch: float(-np.log(p + 1e-7).mean()) for branch, p in found.items()}

    def measure(model: keras.Model) -> Losses:
        return Losses(losses(model, *train), losses(model, *validation), dict.fromkeys(AB, 0.5))

    return measure


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
    heard = []
    blending = AdaptiveBlending(
        measuring(train, validation),
        Algorithm1(AB, window=3),
        listeners=[lambda evaluation, *_: heard.append(evaluation)],
    )
    history = model.fit(*train, epochs=15, verbose=0, callbacks=[blending]).history
    weights = np.array([history["weight_a"], history["weight_b"]])
    assert history["train_loss_b"][-1] < history["train_loss_b"][0]
    assert history["val_loss_a"][-1] < history["val_loss_a"][0]
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    assert weights[0, 3:].mean() > 0.9
    np.testing.assert_allclose(ops.convert_to_numpy(model.branch_weights), weights[:, -1], atol=1e-6)
    # Listeners have the evaluation before training, too; Keras's own history has a copy of the rest.
    assert [each.evaluation for each in heard] == list(range(16))
    assert [each.weight["a"] for each in heard[1:]] == history["weight_a"]
    assert (heard[-1].step, heard[-1].learning_rate) == (30, pytest.approx(0.003))


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


@pytest.mark.backend
def test_loss_of_soft_labels(rng: np.random.Generator) -> None:
    """Cross-entropy with the shares of the classes; that of a label where one class has all."""
    model = two_branch_model()
    x, y = make_data(rng, 16)
    p = {name: ops.convert_to_numpy(value) for name, value in model.predict_on_batch(x).items()}
    classes = p["a"].shape[1]
    share = rng.dirichlet(np.ones(classes), 16).astype("float32")
    expected = np.mean([-(share * np.log(p[branch])).sum(axis=1).mean() for branch in AB])
    assert float(model.compute_loss(x, share, p)) == pytest.approx(expected, rel=1e-5)
    one = np.eye(classes, dtype="float32")[y]
    assert float(model.compute_loss(x, one, p)) == pytest.approx(float(model.compute_loss(x, y, p)), rel=1e-5)


@pytest.mark.backend
@pytest.mark.parametrize("soft", [False, True])
def test_a_network_that_is_sure_and_wrong_learns(soft: bool) -> None:
    """A compiled step moves the last biases by rate times (softmax - labels) / batch, the true class e^-60 likely."""
    inputs = keras.Input((3,), name="x")
    dense = layers.Dense(4, activation="softmax")
    model = BlendedModel({"x": inputs}, {"a": dense(inputs)})
    model.compile(optimizer=keras.optimizers.SGD(0.5))
    bias = np.array([60, 0, 30, -5], "float32")
    dense.set_weights([np.zeros((3, 4), "float32"), bias])
    y = np.array([1, 2, 3, 1])
    model.train_on_batch({"x": np.ones((4, 3), "float32")}, np.eye(4, dtype="float32")[y] if soft else y)
    p = np.exp(bias - bias.max()) / np.exp(bias - bias.max()).sum()
    expected = bias - 0.5 * (p - np.eye(4)[y].mean(axis=0))
    np.testing.assert_allclose(dense.get_weights()[1], expected, rtol=1e-6)


def test_replay_restores_the_rule(rng: np.random.Generator) -> None:
    def losses(values: np.ndarray) -> Losses:
        train, validation = (dict(zip(AB, pair, strict=True)) for pair in (values[:2], values[2:]))
        return Losses(train, validation, dict.fromkeys(AB, 0.5))

    def blending() -> AdaptiveBlending:
        return AdaptiveBlending(lambda model: losses(np.ones(4)), Algorithm1(AB, window=3), warm_up=4)

    recorded = [losses(values) for values in rng.uniform(0.5, 2, (12, 4))]
    undisturbed, continued = blending(), blending()
    undisturbed.replay(recorded)
    continued.replay(recorded[:7])
    continued.replay(recorded[7:])
    for name in ("train", "validation"):
        np.testing.assert_array_equal(undisturbed.rule.references[name], continued.rule.references[name])
    assert undisturbed.rule.history == continued.rule.history


def trained(model: BlendedModel, weights: tuple, steps: int) -> np.ndarray:
    """The parameters of branch a, or of the encoder if there is one, [steps + 1, parameters]; one batch throughout."""
    x, y = make_data(np.random.default_rng(0), 64)
    first = [each for each in model.trainable_variables if each.path.split("/")[-2] in ("a_hidden", "a_out", "encoder")]
    model.branch_weights.assign(weights)
    path = []
    for step in range(steps + 1):
        if step:
            model.train_on_batch(x, y)
        path.append(np.concatenate([ops.convert_to_numpy(each).ravel() for each in first]))
    return np.array(path)


def model_with_encoder() -> BlendedModel:
    """Branch a has its own layer, the encoder, which branch b, the joint head, looks at, too."""
    inputs = {name: keras.Input((20,), name=name) for name in AB}
    encoded = layers.Dense(8, activation="relu", name="encoder")(inputs["a"])
    both = layers.Concatenate()([encoded, inputs["b"]])
    heads = {"a": encoded, "b": layers.Dense(8, activation="relu", name="b_hidden")(both)}
    outputs = {name: layers.Dense(2, activation="softmax", name=f"{name}_head")(x) for name, x in heads.items()}
    return BlendedModel(inputs, outputs)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("make", "optimizer", "cancels"),
    [
        (two_branch_model, Adam, True),
        (two_branch_model, keras.optimizers.SGD, False),
        (model_with_encoder, Adam, False),
    ],
)
def test_constant_weight_cancels_under_adam_where_one_branch_trains_alone(make, optimizer, cancels: bool) -> None:
    paths = []
    for weight in (0.2, 0.8):
        keras.utils.set_random_seed(1)
        model = make()
        model.compile(optimizer=optimizer(0.01))
        paths.append(trained(model, (weight, 1 - weight), 40))
    way = np.linalg.norm(paths[0][-1] - paths[0][0])
    apart = np.linalg.norm(paths[1][-1] - paths[0][-1]) / way
    assert apart < 0.01 if cancels else apart > 0.1


def adams_steps(weights: np.ndarray) -> np.ndarray:
    """Adam's steps, in learning rates, on one constant gradient times a weight that changes."""

    def mean(values: np.ndarray, beta: float) -> np.ndarray:
        counts = np.arange(1, len(values) + 1)
        return np.array([np.average(values[:n], weights=beta ** np.arange(n)[::-1]) for n in counts])

    return mean(weights, 0.9) / np.sqrt(mean(weights**2, 0.999))


def test_what_a_late_jump_buys_in_closed_form() -> None:
    """Moments of a constant gradient after n steps: 1 - beta^n of what they become, and the rest of what they were."""
    n = np.arange(1, 20_001)
    for before, highest, more in ((0.2, 3.74, 986), (0.0, 6.57, 1213)):
        mean, square = before * 0.9**n + 1 - 0.9**n, before**2 * 0.999**n + 1 - 0.999**n
        steps = mean / np.sqrt(square)
        assert (steps.max(), (steps - 1).sum()) == (pytest.approx(highest, abs=0.01), pytest.approx(more, abs=1))


@pytest.mark.parametrize(("before", "weight"), [(0.2, 1.0), (0.2, 0.0), (0.0, 1.0)])
def test_weight_that_changes_acts_through_adams_memory(before: float, weight: float) -> None:
    """200 steps at 0.2 or 0, then 1 or 0; the rate is so small that the gradient stays what it is.

    From 0.2 to 1 the steps grow to 2.5 learning rates within 15, as the mean gradient follows sooner than the mean
    square, and are still 1.6 after 100; from 0 to 2.9. At 0 they go on, over 9 learning rates in all.
    """
    rate = 1e-5
    keras.utils.set_random_seed(1)
    model = two_branch_model(width=8)
    model.compile(optimizer=Adam(rate))
    trained(model, (before, 1 - before), 200)
    path = trained(model, (weight, 1 - weight), 100)
    steps = np.median(np.abs(np.diff(path, axis=0)), axis=1) / rate
    with np.errstate(invalid="ignore"):  # before the first gradient
        expected = adams_steps(np.repeat([before, weight], [200, 100]))[200:]
    np.testing.assert_allclose(steps, expected, atol=0.03)
    if not before:
        assert steps.max() == pytest.approx(2.9, abs=0.05)
    elif weight:
        assert steps.max() == pytest.approx(2.48, abs=0.05) and steps[-1] == pytest.approx(1.6, abs=0.05)
    else:
        assert steps.sum() == pytest.approx(9.2, abs=0.2)
