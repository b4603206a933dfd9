"""Tables 1 and 2 row by row, parameter counts by hand, outputs, attention pooling, saving."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from multiview import crnn, networks
from multiview.layers import AttentionPooling, Dropout, Sounding
from multiview.networks import build_network
from multiview.optimizer import Adam
from multiview.support.errors import InputError
from multiview.systems import find_system, system_names
from multiview.views import VIEWS, geometry
from tests.benchmarks.plain import plain_network

BRANCHES = find_system("multiview").branches
SYSTEMS = system_names()
CLASSES = 10
TABLE_1_FILTERS = (32, 64, 128, 128, 256, 512)
# Time steps of Table 2 at the two rates: input, conv01, conv02, pool02, pool1.
RAW_STEPS = {44100: (66650, 33294, 16640, 260, 65), 22050: (33330, 16634, 8310, 259, 64)}


@pytest.fixture(scope="module", params=[44100, 22050])
def paper_network(request: pytest.FixtureRequest) -> tuple[int, keras.Model]:
    return request.param, build_network("multiview", CLASSES, request.param)


def shape(model: keras.Model, layer: str) -> tuple:
    if layer.endswith("_birnn"):  # of all views in one layer
        birnn = model.get_layer("birnn")
        names = [each.name for each in birnn.birnns]
        return tuple(birnn.output[names.index(layer)].shape[1:])
    return tuple(model.get_layer(layer).output.shape[1:])


def test_table_1_row_by_row(paper_network: tuple[int, keras.Model]) -> None:
    _, model = paper_network
    for view, steps in (("mel", 75), ("gammatone", 75), ("cqt", 65)):
        assert tuple(model.input[view].shape[1:]) == (steps, 64, 1)
        for level, filters in enumerate(TABLE_1_FILTERS, start=1):
            assert shape(model, f"{view}_conv{level}") == (steps, 64 // 2 ** (level - 1), filters)
            assert shape(model, f"{view}_pool{level}") == (steps, 64 // 2**level, filters)
        assert shape(model, f"{view}_reshape") == (steps, 512)
        assert shape(model, f"{view}_birnn") == (steps, 512)
        assert shape(model, f"{view}_attention") == (512,)


def test_table_2_row_by_row(paper_network: tuple[int, keras.Model]) -> None:
    rate, model = paper_network
    samples, conv01, conv02, pool02, steps = RAW_STEPS[rate]
    assert tuple(model.input["raw"].shape[1:]) == (samples, 1)
    assert shape(model, "raw_conv01") == (conv01, 32)
    assert shape(model, "raw_conv02") == (conv02, 64)
    assert shape(model, "raw_pool02") == (pool02, 64)
    assert shape(model, "raw_image") == (pool02, 64, 1)
    assert shape(model, "raw_conv1") == (pool02, 64, 32)
    assert shape(model, "raw_pool1") == (steps, 32, 32)
    for level, filters in list(enumerate(TABLE_1_FILTERS, start=1))[1:]:
        assert shape(model, f"raw_conv{level}") == (steps, 64 // 2 ** (level - 1), filters)
        assert shape(model, f"raw_pool{level}") == (steps, 64 // 2**level, filters)
    assert shape(model, "raw_reshape") == shape(model, "raw_birnn") == (steps, 512)
    assert shape(model, "raw_attention") == (512,)


def test_heads(paper_network: tuple[int, keras.Model]) -> None:
    _, model = paper_network
    for branch in BRANCHES:
        units = 4096 if branch == "multiview" else 1024
        assert [shape(model, f"{branch}_fc{row}") for row in (1, 2, 3)] == [(units,), (units,), (CLASSES,)]
    assert shape(model, "multiview_embedding") == (4 * 512,)


def conv(kernel: int, inputs: int, filters: int) -> int:
    """Kernel and bias of a convolution, and its batch normalisation's four vectors."""
    return kernel * inputs * filters + filters + 4 * filters


def trunk(steps: int) -> int:
    """biRNN, attention, fc1 to fc3 of a view, by hand."""
    birnn = 2 * 3 * (512 * 256 + 256 * 256 + 2 * 256)
    attention = 64 * 512 + 64 + 64 + 64 * steps + 64 + 64
    return birnn + attention


HEAD = (512 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * CLASSES + CLASSES)
JOINT_HEAD = (2048 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * CLASSES + CLASSES)
CONVS_2_TO_6 = conv(9, 32, 64) + conv(9, 64, 128) + conv(9, 128, 128) + conv(9, 128, 256) + conv(9, 256, 512)


def test_parameters_of_each_branch_by_hand(paper_network: tuple[int, keras.Model]) -> None:
    rate, model = paper_network
    expected = {
        "mel": conv(9, 1, 32) + CONVS_2_TO_6 + trunk(75) + HEAD,
        "gammatone": conv(9, 1, 32) + CONVS_2_TO_6 + trunk(75) + HEAD,
        "cqt": conv(9, 1, 32) + CONVS_2_TO_6 + trunk(65) + HEAD,
        "raw": conv(64, 1, 32) + conv(16, 32, 64) + conv(15, 1, 32) + CONVS_2_TO_6 + trunk(RAW_STEPS[rate][-1]) + HEAD,
        "multiview": JOINT_HEAD,
    }
    found = dict.fromkeys(BRANCHES, 0)
    for layer in (*model.layers, *model.get_layer("birnn").birnns):
        if layer.weights and layer.name != "birnn":
            found[layer.name.split("_")[0]] += layer.count_params()
    assert found == expected
    assert model.count_params() == sum(expected.values()) + 5  # and the branch weights


def test_six_systems_share_their_parts() -> None:
    sizes = {system: build_network(system, CLASSES, 22050, 1 / 4).count_params() for system in SYSTEMS}
    head = (128 * 256 + 256) + (256 * 256 + 256) + (256 * CLASSES + CLASSES)
    joint = (512 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * CLASSES + CLASSES)
    singles = sum(sizes[view] - 1 for view in VIEWS)
    assert sizes["multiview"] - 5 == singles + joint
    assert sizes["concat"] - 1 == singles - 4 * head + joint


def segments(model: keras.Model, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {view: rng.normal(size=(count, *tensor.shape[1:])).astype("float32") for view, tensor in model.input.items()}


@pytest.mark.backend
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_named_outputs_sum_to_one_in_float32(policy: str, rng: np.random.Generator) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = build_network("multiview", CLASSES, 22050, 1 / 32)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = model.predict_on_batch(segments(model, 3, rng))
    assert set(outputs) == set(BRANCHES)
    for probabilities in outputs.values():
        probabilities = ops.convert_to_numpy(probabilities)
        assert probabilities.shape == (3, CLASSES) and probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.backend
def test_attention_pooling_against_a_loop(rng: np.random.Generator) -> None:
    batch, steps, dimensions, units = 2, 5, 7, 3
    layer = AttentionPooling(units)
    layer.build((None, steps, dimensions))
    W, b, u, V, c, v = (rng.normal(size=weight.shape) for weight in layer.weights)
    assert [weight.name for weight in layer.weights] == ["W", "b", "u", "V", "c", "v"]
    layer.set_weights([W, b, u, V, c, v])
    Z = rng.normal(size=(batch, steps, dimensions))
    expected = np.zeros((batch, dimensions))
    for i in range(batch):
        e = [u @ np.tanh(W @ Z[i, t] + b) for t in range(steps)]
        f = [v @ np.tanh(V @ Z[i, :, d] + c) for d in range(dimensions)]
        a, s = np.exp(e) / np.exp(e).sum(), np.exp(f) / np.exp(f).sum()
        for d in range(dimensions):
            expected[i, d] = dimensions * sum(a[t] * s[d] * Z[i, t, d] for t in range(steps))
    found = ops.convert_to_numpy(layer(Z.astype("float32")))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_network_standardises_plain_features(rng: np.random.Generator) -> None:
    mean, deviation = rng.normal(-40, 10, 64), rng.uniform(2, 20, 64)
    keras.utils.set_random_seed(0)
    plain = build_network("mel", CLASSES, 22050, 1 / 32)
    standardising = build_network("mel", CLASSES, 22050, 1 / 32, {"mel": (mean, deviation)})
    for source, target in zip(plain.weights, standardising.weights, strict=True):
        target.assign(source)
    x = rng.normal(size=(2, 75, 64, 1))
    features = x * deviation[:, None] + mean[:, None]
    np.testing.assert_allclose(
        standardising.predict_on_batch({"mel": features.astype("float32")})["mel"],
        plain.predict_on_batch({"mel": x.astype("float32")})["mel"],
        atol=1e-4,
    )


@pytest.mark.backend
def test_saved_model_keeps_weights_statistics_and_outputs(tmp_path: Path, rng: np.random.Generator) -> None:
    statistics = {view: (np.full(64, -50.0), np.full(64, 9.0)) for view in ("mel", "gammatone", "cqt")}
    model = build_network("multiview", CLASSES, 22050, 1 / 32, statistics)
    model.branch_weights.assign([0.1, 0.2, 0.3, 0.15, 0.25])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(loaded.branch_weights), [0.1, 0.2, 0.3, 0.15, 0.25])
    assert loaded.branches == BRANCHES
    x = segments(model, 2, rng)
    expected, found = model.predict(x, verbose=0), loaded.predict(x, verbose=0)
    for branch in BRANCHES:
        np.testing.assert_allclose(found[branch], expected[branch], atol=1e-6)


@pytest.mark.backend
def test_training_step_moves_only_the_weighted_branch(rng: np.random.Generator) -> None:
    """One compiled step of the whole network: all the weight on CQT trains CQT's part alone."""
    model = build_network("multiview", 3, 22050, 1 / 32)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.branch_weights.assign([0, 0, 1, 0, 0])
    before = [ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    loss = model.train_on_batch(segments(model, 4, rng), rng.integers(0, 3, 4))
    assert np.isfinite(loss)
    moved = set()
    for old, variable in zip(before, model.trainable_variables, strict=True):
        if not np.array_equal(old, ops.convert_to_numpy(variable)):
            moved.add(variable.path.removeprefix("birnn/").split("_")[0])
    assert moved == {"cqt"}


def test_joint_branch_may_train_itself_alone(rng: np.random.Generator) -> None:
    """With all the weight on the joint branch, and no gradient from it, the views' networks stay as they are."""
    model = build_network("multiview", 3, 22050, 1 / 32, views=["mel", "cqt"], joint_gradient=False)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.branch_weights.assign([0, 0, 1])
    before = [ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.train_on_batch(segments(model, 4, rng), rng.integers(0, 3, 4))
    moved = {
        variable.path.split("_")[0]
        for old, variable in zip(before, model.trainable_variables, strict=True)
        if not np.array_equal(old, ops.convert_to_numpy(variable))
    }
    assert moved == {"multiview"}


@pytest.mark.backend
def test_joint_branch_may_miss_views(rng: np.random.Generator) -> None:
    """In training it hears a view not at all with the rate, else times 1 / (1 - rate); the views' branches hear it."""
    clips, rate, joined = 96, 0.25, []
    for view_dropout in (0.0, rate):
        keras.utils.set_random_seed(0)
        model = build_network("multiview", 3, 22050, 1 / 32, views=["mel", "cqt"], view_dropout=view_dropout)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Dropout) and not layer.noise_shape:
                layer.rate = 0.0
        outputs = {"joint": model.get_layer("multiview_embedding").output, "mel": model.output["mel"]}
        inputs = segments(model, clips, np.random.default_rng(1))
        joined.append({training: keras.Model(model.input, outputs)(inputs, training=training) for training in (0, 1)})
    plain, found = joined
    np.testing.assert_allclose(found[1]["mel"], plain[1]["mel"], atol=1e-5)
    np.testing.assert_allclose(found[0]["joint"], plain[0]["joint"], atol=1e-5)
    views = [ops.convert_to_numpy(each[1]["joint"]).reshape(clips, 2, -1) for each in (plain, found)]
    missed = (views[1] == 0).all(axis=2)
    np.testing.assert_allclose(views[1], np.where(missed[..., None], 0, views[0] / (1 - rate)), atol=1e-5)
    assert abs(missed.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / missed.size)
    assert len(np.unique(missed, axis=0)) == 4  # each by itself


@pytest.mark.backend
@pytest.mark.parametrize("system", ["multiview", "concat", "gammatone", "raw"])
def test_silence_says_nothing(system: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """All classes alike, to the last bit, of what holds no sound; else as without, and as loaded again."""
    plain = build_network(system, 3, 22050, 1 / 32)
    for branch in plain.branches:  # as no untrained one has them, whose answers may be all alike, too
        plain.get_layer(f"{branch}_fc3").bias.assign([0.5, -0.5, 0.1])
    model = build_network(system, 3, 22050, 1 / 32, skip_silence=True)
    model.set_weights(plain.get_weights())
    inputs = segments(model, 6, rng)
    for view, values in inputs.items():
        floor, step = (0, 1 / 32768) if view == "raw" else (-100, 10)
        values[2], values[3] = floor, floor
        values[3, 5, 0] = floor + step  # noise of the last bit, or 10 dB above the floor: still nothing
        just = np.full_like(values[:1], floor)
        just[0, 7, 0] = floor + 1.01 * step
        told = Sounding(VIEWS[view].silence, VIEWS[view].quiet)(np.concatenate([values, just]))
        assert ops.convert_to_numpy(told)[:, 0].tolist() == [1, 1, 0, 0, 1, 1, 1]
    silent = np.array([False, False, True, True, False, False])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    without, found, again = (each.predict_on_batch(inputs) for each in (plain, model, loaded))
    for branch, values in found.items():
        assert (np.ptp(values, axis=1) == 0).tolist() == silent.tolist()
        np.testing.assert_allclose(values[silent], 1 / 3, rtol=1e-6)
        np.testing.assert_allclose(values[~silent], without[branch][~silent], atol=1e-6)
        np.testing.assert_allclose(again[branch], values, atol=1e-6)


@pytest.mark.backend
def test_nothing_is_learnt_of_silence(rng: np.random.Generator) -> None:
    """Segments without sound have no gradient; the others have that of a batch of their own, half as large."""
    moved = []
    for rows in ([0, 1, 2, 3], [0, 1]):
        keras.utils.set_random_seed(0)
        model = build_network("gammatone", 3, 22050, 1 / 32, skip_silence=True)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Dropout | Dropout):
                layer.rate = 0.0
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        model.compile(optimizer=keras.optimizers.SGD(len(rows) / 4))
        inputs = segments(model, 4, np.random.default_rng(1))
        inputs["gammatone"][2:] = -100
        before = [ops.convert_to_numpy(each) for each in model.trainable_variables]
        model.train_on_batch({view: values[rows] for view, values in inputs.items()}, np.array([0, 1, 2, 2])[rows])
        after = [ops.convert_to_numpy(each) for each in model.trainable_variables]
        moved.append([new - old for old, new in zip(before, after, strict=True)])
    assert max(np.abs(each).max() for each in moved[1]) > 1e-3
    for with_silence, alone in zip(*moved, strict=True):
        np.testing.assert_allclose(with_silence, alone, atol=1e-6)


def test_unknown_system_is_named() -> None:
    with pytest.raises(InputError, match="mel, gammatone, cqt, raw, concat, multiview; found 'video'"):
        build_network("video", CLASSES, 22050)


def test_full_network_has_the_size_of_the_paper() -> None:
    assert geometry(44100).segment("raw") == 66650
    assert 42e6 < build_network("multiview", 50, 44100).count_params() < 44e6


# The same mathematics as stock layers, see tests/benchmarks/plain.py.


def ends(model: keras.Model) -> list[str]:
    """Names of the variables by layer, without the counters that Keras gives its GRUs."""
    return [re.sub(r"^birnn/|_gru(_\d+)?", "", variable.path) for variable in model.weights]


def without_dropout(system: str, width: float, monkeypatch: pytest.MonkeyPatch) -> tuple[keras.Model, keras.Model]:
    monkeypatch.setattr(crnn, "DROPOUT", 0.0)
    monkeypatch.setattr(networks, "DROPOUT", 0.0)
    found = []
    for build in (build_network, plain_network):
        keras.utils.set_random_seed(3)
        found.append(build(system, CLASSES, 22050, width, **({"dropout": 0.0} if build is plain_network else {})))
    return tuple(found)


@pytest.mark.backend
@pytest.mark.parametrize("system", SYSTEMS)
def test_variables_are_those_of_stock_layers(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, order, and first values by the same seed, so that weights and seeds of before go on."""
    ours, stock = without_dropout(system, 1 / 32, monkeypatch)
    assert ends(ours) == ends(stock)
    for one, other in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def gradient(model: keras.Model, x: dict, y: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Outputs, loss and gradient, flat."""
    import tensorflow as tf

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x, y, outputs)
        return outputs, loss, tape.gradient(loss, [each.value for each in model.trainable_variables])

    outputs, loss, gradients = step()
    flat = [np.concatenate([np.ravel(each) for each in part]) for part in (outputs.values(), gradients)]
    return flat[0], float(loss), flat[1]


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_outputs_losses_and_gradients_are_those_of_stock_layers(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1e-5 in float64. In float32 rounding moves maxima and signs, so that stock layers, too, are per cents away."""
    data, found = None, {}
    for precision in ("float32", "float64"):
        keras.config.set_dtype_policy(precision)
        try:
            ours, stock = without_dropout("multiview", 1 / 32, monkeypatch)
        finally:
            keras.config.set_dtype_policy("float32")
        data = data or (segments(ours, 4, rng), rng.integers(0, CLASSES, 4))
        x = {view: values.astype(precision) for view, values in data[0].items()}
        stock.set_weights(ours.get_weights())
        found[precision] = gradient(ours, x, data[1]), gradient(stock, x, data[1])
    ours, stock = found["float64"]
    assert error(ours[0], stock[0]) < 1e-5 and ours[1] == pytest.approx(stock[1], rel=1e-5)
    assert error(ours[2], stock[2]) < 1e-5
    single, of_stock = found["float32"]
    assert single[1] == pytest.approx(of_stock[1], rel=1e-5)
    for part in (0, 2):
        assert error(single[part], stock[part]) < max(4 * error(of_stock[part], stock[part]), 1e-5)


@pytest.mark.backend
def test_models_of_stock_layers_load_and_predict_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    """As they were saved before this network had layers of its own."""
    stock = plain_network("multiview", CLASSES, 22050, 1 / 32)
    stock.save(tmp_path / "model.keras")
    x, ours = segments(stock, 3, rng), build_network("multiview", CLASSES, 22050, 1 / 32)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    ours.set_weights(loaded.get_weights())
    expected = stock.predict_on_batch(x)
    for model in (loaded, ours):
        found = model.predict_on_batch(x)
        for branch in BRANCHES:
            np.testing.assert_allclose(found[branch], expected[branch], rtol=1e-5, atol=1e-6)


def operations(graph) -> set[str]:
    """Types of the operations of a graph and of all its functions."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for each in definition.library.function for node in each.node_def)]
    return {node.op for node in nodes}


def test_step_never_leaves_its_graph_and_compiles_with_xla(rng: np.random.Generator) -> None:
    model = build_network("multiview", CLASSES, 22050, 1 / 32)
    model.compile(optimizer=Adam(1e-3), jit_compile=True)
    model.optimizer.build(model.trainable_variables)
    x, y = segments(model, 2, rng), rng.integers(0, CLASSES, 2)
    assert np.isfinite(model.train_on_batch(x, y))  # compiled as a whole, or an error
    import tensorflow as tf

    found = operations(tf.function(lambda x, y: model.train_step((x, y))).get_concrete_function(x, y).graph)
    assert "ResourceApplyAdam" in found
    assert not [each for each in found if "PyFunc" in each or each in ("Print", "PrintV2", "NumericalGradient")]


def test_bfloat16_changes_losses_by_less_than_two_per_cent(rng: np.random.Generator) -> None:
    losses = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(5)
        keras.config.set_dtype_policy(policy)
        try:
            model = build_network("multiview", 3, 22050, 1 / 32)
        finally:
            keras.config.set_dtype_policy("float32")
        model.compile(optimizer=Adam(1e-3))
        model.optimizer.build(model.trainable_variables)
        fixed = np.random.default_rng(0)
        x, y = segments(model, 8, fixed), fixed.integers(0, 3, 8)
        losses[policy] = [float(model.train_on_batch(x, y)) for _ in range(20)]
    # `train_on_batch` gives the mean so far.
    assert losses["float32"][-1] < losses["float32"][0]
    np.testing.assert_allclose(losses["mixed_bfloat16"], losses["float32"], rtol=0.02)


def test_images_with_their_channels_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has set Keras to that is told before a network is built; one that is trained says the same as without."""
    model = build_network("multiview", 3, 22050, 1 / 32)
    rng = np.random.default_rng(0)
    batch = {view: rng.standard_normal((2, *each.shape[1:])).astype("float32") for view, each in model.input.items()}
    expected = model(batch)
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(InputError, match=r"image_data_format channels_last, found channels_first; change it in .*json"):
        build_network("mel", 3, 22050, 1 / 32)
    monkeypatch.undo()
    keras.config.set_image_data_format("channels_first")
    try:
        found = model(batch)
    finally:
        keras.config.set_image_data_format("channels_last")
    for branch, values in expected.items():
        np.testing.assert_array_equal(found[branch], values)
