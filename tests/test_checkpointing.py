"""Gradient checkpointing: the same steps in less memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from multiview.backbones import Backbone
from multiview.networks import build_network, encoder
from multiview.optimizer import Adam
from multiview.support.errors import InputError
from multiview.transfer import freeze

VIEWS = ["mel", "raw"]


def network(checkpointing: bool) -> keras.Model:
    keras.utils.set_random_seed(5)
    model = build_network("multiview", 3, 22050, 1 / 32, views=VIEWS, gradient_checkpointing=checkpointing)
    model.compile(optimizer=Adam(1e-2))
    return model


def by_name(model: keras.Model) -> dict[str, np.ndarray]:
    """Weights by layer and name, without the block and the counters that Keras gives its GRUs."""
    return {
        re.sub(r"^(birnn|\w+_block\d+)/|_gru(_\d+)?", "", each.path): keras.ops.convert_to_numpy(each)
        for each in model.weights
    }


@pytest.mark.backend
def test_steps_statistics_and_dropout_are_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    """A second count of a batch, or a second draw of dropout, would show in the losses of a few steps."""
    kept, again = network(False), network(True)
    x = {view: rng.normal(size=(6, *tensor.shape[1:])).astype("float32") for view, tensor in kept.input.items()}
    y = np.arange(6) % 3
    for _ in range(3):
        losses = [float(model.train_on_batch(x, y)) for model in (kept, again)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    found, expected = by_name(again), by_name(kept)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-2, atol=1e-3, err_msg=name)

    again.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = again.predict_on_batch(x)
    for branch, values in loaded.predict_on_batch(x).items():
        np.testing.assert_array_equal(values, expected[branch])


@pytest.mark.backend
def test_frozen_weights_are_not_rounded_in_mixed_precision(rng: np.random.Generator) -> None:
    """To the bit as they were after two steps, while heads learn; without the block of layers it is so, too."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network(True)
        model.optimizer.build(model.trainable_variables)
        before = {name: layer.get_weights() for name, layer in encoder(model, "mel").items()}
        freeze(model, ["mel"])
        model.compile(optimizer=model.optimizer)
        x = {view: rng.normal(size=(4, *each.shape[1:])).astype("float32") for view, each in model.input.items()}
        head = model.get_layer("mel_fc1").get_weights()
        for _ in range(2):
            assert np.isfinite(float(model.train_on_batch(x, np.arange(4) % 3)))
    finally:
        keras.config.set_dtype_policy("float32")
    for name, layer in encoder(model, "mel").items():
        for found, value in zip(layer.get_weights(), before[name], strict=True):
            np.testing.assert_array_equal(found, value, err_msg=name)
    assert any("conv" in name for name in before)
    assert not np.array_equal(model.get_layer("mel_fc1").get_weights()[0], head[0])


def test_backbone_that_cannot_is_named() -> None:
    other = Backbone("other", "keeps what it needs", lambda x, *_: x)
    expected = "expected --gradient-checkpointing with a backbone of crnn, separable, found other; drop it"
    with pytest.raises(InputError, match=expected):
        other.embed({}, 22050, lambda units: units, checkpointing=True)


@pytest.mark.long
def test_step_of_the_paper_takes_five_gibibytes_at_most() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.step", "--preset", "paper", "--gradient-checkpointing"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert float(done.stdout.split("peak memory ")[1].split()[0]) <= 5
