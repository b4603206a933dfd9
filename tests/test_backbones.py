"""Networks other than the paper's: what they cost by closed forms, what they compute, weights from files, refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from multiview import backbones
from multiview.backbones import BACKBONES, Backbone
from multiview.crnn import BATCH_NORM_MOMENTUM, TABLE_1, TABLE_2, TABLE_2_RAW, Conv
from multiview.networks import build_network, encoder
from multiview.optimizer import Adam
from multiview.support.errors import InputError
from multiview.transfer import freeze, thaw
from multiview.views import VIEWS, Grid, geometry
from tests.benchmarks.backbones import multiplications
from tests.fuzz.mutations import remade

RATE = 22050
# Parameters without the classifier as the networks' authors and Keras's documentation have them.
IMAGES = {"mobilenet": ("MobileNetV3Small", 939_120, 576), "efficientnet": ("EfficientNetV2B0", 5_919_312, 1280),
          "resnet": ("ResNet50V2", 23_564_800, 2048)}  # fmt: skip


def convolutions(view: str, separable: bool) -> int:
    """Multiplications of the convolutions of Table 1 or 2 at full width for a segment, counted by hand."""
    size, total, channels = geometry(RATE), 0, 1

    def products(row: Conv) -> int:
        """For one place of the output."""
        taps = math.prod(row.kernel)
        return channels * (taps + row.filters) if separable and channels > 1 else channels * taps * row.filters

    shape, rows = list(size.segment_shape(view)), TABLE_1
    if view == "raw":
        rows = TABLE_2
        for row in TABLE_2_RAW:
            shape = [(shape[0] - row.kernel[0]) // row.stride[0] + 1]
            total, channels = total + shape[0] * products(row), row.filters
        shape, channels = [shape[0] // 32, channels], 1  # pool02 at 22.05 kHz
    for row in rows:
        total, channels = total + math.prod(shape) * products(row), row.filters
        shape = [length // pool for length, pool in zip(shape, row.pool, strict=True)]
    return total


def recurrence(steps: int) -> int:
    """Of the bidirectional GRU at full width: three gates of 256 units, from 512 inputs and 256 states."""
    return 2 * steps * 3 * 256 * (512 + 256)


@pytest.mark.parametrize("view", ["mel", "raw"])
def test_separable_network_takes_at_most_a_third_of_the_multiplications(view: str) -> None:
    steps = {"mel": 75, "raw": 64}[view]
    found = {name: multiplications(build_network(view, 10, RATE, backbone=name)) for name in ("crnn", "separable")}
    attention, head = 2 * steps * 512 * 64 + steps * 64 + 512 * 64 + 512 * steps, 512 * 1024 + 1024 * 1024 + 1024 * 10
    for name, count in found.items():
        assert count == convolutions(view, name == "separable") + recurrence(steps) + attention + head
    assert found["separable"] <= found["crnn"] / 3


@pytest.mark.parametrize("name", IMAGES)
def test_image_network_is_that_of_keras_with_its_weights(name: str, tmp_path: Path) -> None:
    """The embedding of a view is what the network of `keras.applications` gives for three copies of it."""
    application, parameters, channels = IMAGES[name]
    options = {} if name == "resnet" else {"include_preprocessing": False}
    theirs = getattr(keras.applications, application)(
        include_top=False, weights=None, input_shape=(75, 64, 3), pooling="avg", **options
    )
    x = np.random.default_rng(0).standard_normal((2, 75, 64, 1)).astype("float32")
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    theirs(np.repeat(x, 3, axis=-1), training=True)  # with statistics of 0 and 1 nothing of a sound would get through
    theirs.save_weights(tmp_path / "trained.weights.h5")
    model = build_network("mel", 3, RATE, 1 / 32, backbone=name)
    (layer,) = encoder(model, "mel").values()
    assert {each.momentum for each in layer.layers if hasattr(each, "momentum")} == {BATCH_NORM_MOMENTUM}
    assert layer.count_params() == theirs.count_params() == parameters
    BACKBONES[name].pretrained(model, "mel", str(tmp_path / "trained.weights.h5"))
    embedding = keras.Model(model.input, model.get_layer("mel_fc1").input)({"mel": x})
    assert embedding.shape == (2, channels) and np.abs(embedding[0] - embedding[1]).max() > 0.01
    np.testing.assert_allclose(embedding, theirs(np.repeat(x, 3, axis=-1)), rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, load = build_network("mel", 3, RATE, 1 / 32, backbone="mobilenet"), BACKBONES["mobilenet"].pretrained
    narrow = keras.applications.MobileNetV3Small(
        include_top=False, alpha=0.75, weights=None, input_shape=(75, 64, 3), pooling="avg", include_preprocessing=False
    )
    narrow.save_weights(tmp_path / "narrow.weights.h5")
    with pytest.raises(
        InputError, match=r"of MobileNetV3Small .* found others \(<Conv2D name=.* shape.*; name the file"
    ):
        load(model, "mel", str(tmp_path / "narrow.weights.h5"))
    with h5py.File(tmp_path / "narrow.weights.h5", "a") as file:
        names: list[str] = []
        file.visititems(lambda name, each: names.append(name) if isinstance(each, h5py.Dataset) else None)
        remade(names[0], data=None, shape=(2**14, 2**14), dtype="f4", chunks=(2**10, 2**10), compression="gzip")(file)
    with pytest.raises(InputError, match="found 0 bytes that stand for 1073741824"):  # before they are read
        load(model, "mel", str(tmp_path / "narrow.weights.h5"))
    (tmp_path / "junk.h5").write_bytes(b"junk")
    with pytest.raises(InputError, match="expected weights of MobileNetV3Small"):
        load(model, "mel", str(tmp_path / "junk.h5"))
    with pytest.raises(InputError, match="expected --pretrained imagenet or a file of weights, found none"):
        load(model, "mel", str(tmp_path / "none.h5"))

    def offline(*_: object, **__: object) -> None:
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.applications, "MobileNetV3Small", offline)
    with pytest.raises(InputError, match=r"Keras's download, found none \(URL fetch failure\); name a file"):
        load(model, "mel", "imagenet")


@pytest.mark.parametrize("rate", [22050, 44100])
def test_strided_network_row_by_row(rate: int) -> None:
    """Samples over strides: the steps of the last layer last as long at both rates."""
    model = build_network("raw", 3, rate, 1 / 32, backbone="strided")
    steps = model.input["raw"].shape[1]
    for number, (kernel, stride) in enumerate([(64, 8 * rate // 44100), (16, 8), (8, 4), (8, 2)], start=1):
        steps = (steps - kernel) // stride + 1
        assert model.get_layer(f"raw_strided{number}").output.shape[1] == steps
    assert 8 * 8 * 4 * 2 / 44100 == pytest.approx(0.0116, abs=1e-4)
    assert model.get_layer("raw_embedding").output.shape[1] == 2 * 512 // 32


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in ("crnn", "efficientnet", "resnet")])
def test_every_network_learns_two_classes(name: str) -> None:
    """Loud and silent segments of a view, told apart after a few steps."""
    view = "raw" if name == "strided" else "mel"
    model = build_network(view, 2, RATE, 1 / 32, backbone=name)
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    rng, labels = np.random.default_rng(0), np.arange(8) % 2
    x = rng.standard_normal((8, *model.input[view].shape[1:])).astype("float32")
    x *= np.reshape(0.1 + labels, (8, *[1] * (x.ndim - 1))).astype("float32")
    first = float(model.train_on_batch({view: x}, labels))
    for _ in range(25):
        last = float(model.train_on_batch({view: x}, labels))
    assert last < first / 2


def test_choice_of_networks() -> None:
    views = ("mel", "cqt", "raw")
    assert backbones.choose(None, views) == dict.fromkeys(views, "crnn")
    assert backbones.choose("mobilenet", views) == {"mel": "mobilenet", "cqt": "mobilenet", "raw": "crnn"}
    assert backbones.choose("separable,raw=strided", views) == {
        "mel": "separable",
        "cqt": "separable",
        "raw": "strided",
    }
    with pytest.raises(InputError, match="expected a backbone for raw of crnn, separable, strided; found 'resnet'"):
        backbones.choose("raw=resnet", views)
    with pytest.raises(InputError, match="a backbone for mel of crnn, separable, mobilenet, .*; found 'strided'"):
        backbones.choose("strided", ("mel",))
    # In a grid each system takes what is about its views.
    assert backbones.parts("mobilenet,raw=strided", ("raw",)) == ["raw=strided"]
    assert backbones.parts("mobilenet,raw=strided", ("mel",)) == ["mobilenet"]
    with pytest.raises(InputError, match="a --backbone of mobilenet, efficientnet, resnet, found crnn"):
        backbones.able("mel=crnn", ("mel",))


@pytest.mark.parametrize(
    ("changes", "image"),
    [({"bands": 32}, True), ({"bands": 16}, False), ({"grid": lambda rate: Grid(rate // 20, rate // 10, 31)}, False)],
)
def test_image_networks_take_images_of_32_and_more(changes: dict, image: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras builds none of them for less, in frames or in bands."""
    monkeypatch.setattr(VIEWS, "_entries", {"narrow": dataclasses.replace(VIEWS["mel"], name="narrow", **changes)})
    assert backbones.choose("separable", ("narrow",)) == {"narrow": "separable"}
    for name, (application, *_) in IMAGES.items():
        shape = (*VIEWS["narrow"].segment_shape(RATE), 3)
        build = getattr(keras.applications, application)
        if image:
            assert backbones.choose(name, ("narrow",)) == {"narrow": name}
            build(include_top=False, weights=None, input_shape=shape)
        else:
            with pytest.raises(InputError, match=f"a backbone for narrow of crnn, separable; found '{name}'"):
                backbones.choose(name, ("narrow",))
            with pytest.raises(ValueError, match="at least 32x32"):
                build(include_top=False, weights=None, input_shape=shape)


def test_a_network_has_its_weights_in_layers_named_after_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """As what takes over and freezes goes by the names; `mel_fcn` is the view's, `mel_fc1` the head's."""

    def named(name: str | None) -> keras.Model:
        def build(x: Any, *_: Any) -> Any:
            return keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name=name)(x))

        monkeypatch.setitem(BACKBONES._entries, "own", Backbone("own", "one convolution", build))
        return build_network("concat", 3, RATE, 1 / 32, views=["mel", "cqt"], backbone="mel=own")

    assert list(encoder(named("mel_fcn"), "mel")) == ["mel_fcn"]
    for name, found in ((None, r"conv2d\w*"), ("cqtlike", "cqtlike"), ("cqt_own", "cqt_own"), ("mel_fc1", "mel_fc1")):
        with pytest.raises(InputError, match=f"names begin with their view's, as mel_conv1, found {found}; "):
            named(name)


def test_one_view_may_have_the_separable_network(rng: np.random.Generator) -> None:
    """Beside the paper's: each kind has its loop of recurrences, and gives what it gives alone."""
    model = build_network("multiview", 3, RATE, 1 / 32, views=["mel", "cqt"], backbone="mel=separable")
    x = {view: rng.standard_normal((2, *each.shape[1:])).astype("float32") for view, each in model.input.items()}
    found = model(x)
    for view, backbone in (("mel", "separable"), ("cqt", "crnn")):
        alone = build_network(view, 3, RATE, 1 / 32, backbone=backbone)
        for name, layer in encoder(alone, view).items():
            layer.set_weights(encoder(model, view)[name].get_weights())
        for row in ("fc1", "fc2", "fc3"):
            alone.get_layer(f"{view}_{row}").set_weights(model.get_layer(f"{view}_{row}").get_weights())
        np.testing.assert_allclose(alone({view: x[view]})[view], found[view], atol=1e-6)


def test_what_is_always_fixed_stays_so_when_a_network_is_thawed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed layer within a nested network, too; the optimizer knows nothing of either."""

    def build(x: Any, view: str, *_: Any) -> Any:
        # Their owner has the view's name; they need not.
        fixed, learnt = (keras.layers.Conv2D(2, 3, name=name) for name in ("fixed", "learnt"))
        nested = keras.Sequential([keras.layers.Input(x.shape[1:]), fixed, learnt], name=f"{view}_nested")
        bank = keras.layers.Conv2D(2, 3, name=f"{view}_bank")
        fixed.trainable = bank.trainable = False
        return keras.layers.GlobalAveragePooling2D()(bank(nested(x)))

    monkeypatch.setitem(BACKBONES._entries, "own", Backbone("own", "some layers fixed", build))
    model = build_network("mel", 2, RATE, 1 / 32, backbone="own")
    model.compile(optimizer=Adam(1e-2))
    model.optimizer.build(model.trainable_variables)
    trained = [each.path for each in model.trainable_variables]
    layers = {each.name: each for each in model._flatten_layers() if isinstance(each, keras.layers.Conv2D)}
    x, labels = np.random.default_rng(0).standard_normal((4, *model.input["mel"].shape[1:])), np.arange(4) % 2

    def moved() -> set[str]:
        """The layers of the view that a step changes."""
        model.compile(optimizer=model.optimizer)
        before = {name: layer.get_weights() for name, layer in layers.items()}
        model.train_on_batch({"mel": x}, labels)
        return {name for name in before if not np.array_equal(before[name][0], layers[name].get_weights()[0])}

    held = freeze(model, ["mel"])
    assert moved() == set()
    thaw(held)
    assert [each.path for each in model.trainable_variables] == trained
    assert moved() == {"learnt"}
