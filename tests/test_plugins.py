"""Plugins: a user's own declarations, what is refused and how, and what is said where one is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import main as prepare
from multiview import cli
from multiview.experiment.run import Run
from multiview.store import Store
from multiview.support import plugins, registry
from multiview.support.errors import InputError
from multiview.views import VIEWS, Sound, View

pytestmark = pytest.mark.usefixtures("registries")

VIEW = """
import numpy as np
from multiview.views import MEL, VIEWS, View

VIEWS.register(View(name="{name}", label="Own", unit="dB", grid=MEL.grid, bands={bands},
    extract=lambda sound: MEL.extract(sound)[:, :9].astype(np.{dtype}), parameters=MEL.parameters))
"""


def plugin(folder: Path, text: str, name: str = "own.py") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere", "expected a module that imports, found ModuleNotFoundError: No module named 'nowhere'"),
        ("x = (", "expected a module that imports, found SyntaxError"),
        ("x = 1", "expected that it registers a view, dataset, backbone"),
        (VIEW.format(name="mel", bands=9, dtype="float32"), "field name of a view: expected a new name, found 'mel'"),
        (VIEW.format(name="a b", bands=9, dtype="float32"), "field name of a view: expected letters, digits and _"),
        (VIEW.format(name="concat", bands=9, dtype="float32"), "view concat: field name: expected another than"),
        (VIEW.format(name="own", bands=0, dtype="float32"), "view own: field bands: expected a whole number or None"),
        (
            VIEW.format(name="own", bands=9, dtype="float32") * 2,
            "field name of a view: expected a new name, found 'own'",
        ),
    ],
)
def test_plugins_that_do_not_fit_are_one_line_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, text: str, message: str
) -> None:
    before, path = registry.snapshot(), plugin(tmp_path, text)
    assert cli.main(["report", str(tmp_path), "--plugin", path]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"multiview: error: plugin {path}: ") and message in error and "\n" not in error
    assert registry.snapshot() == before and plugins.given() == []


@pytest.mark.parametrize(
    ("bands", "dtype", "message"),
    [
        (7, "float32", r"view own: field bands: expected values \[149, 7\], found \[149, 9\]"),
        (9, "float64", "view own: field dtype: expected float32, found float64"),
    ],
)
def test_view_whose_values_do_not_fit_is_refused_before_any_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture, bands: int, dtype: str, message: str
) -> None:
    import re

    path, store = plugin(tmp_path, VIEW.format(name="own", bands=bands, dtype=dtype)), tmp_path / "s.h5"
    arguments = ["demo", "--store", str(store), "--sample-rate", "22050", "--views", "mel,own", "--plugin", path]
    assert prepare(arguments) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(error) == 1 and re.search(message, error[0]) and "own.py" in error[0]
    assert not store.exists()


def test_missing_plugin_of_a_store_is_named(
    tmp_path: Path, tiny_store: Store, registries: None, capsys: pytest.CaptureFixture
) -> None:
    path = plugin(tmp_path, VIEW.format(name="own", bands=9, dtype="float32"))
    before = registry.snapshot()
    store = tmp_path / "s.h5"
    assert (
        prepare(["demo", "--store", str(store), "--sample-rate", "22050", "--views", "own,raw", "--plugin", path]) == 0
    )
    assert Store(store).views == ("raw", "own")
    assert np.array_equal(Store(store).clip("own", 3).shape, (99, 9))
    registry.restore(before)
    plugins.forget()
    with pytest.raises(
        InputError, match="s.h5 needs the view 'own' of the plugin own.py, found none; say --plugin own.py"
    ):
        Store(store)
    plugins.load([path])
    assert Store(store).views == ("raw", "own")


def test_missing_plugin_of_a_run_is_named(tmp_path: Path, tiny_trained: Run) -> None:
    copy = Run(shutil.copytree(tiny_trained.path, tmp_path / "run"))
    record = {**copy.read(), "plugins": {"own.py": {"blending": ["clever"]}}}
    copy.record.write_text(__import__("json").dumps(record), encoding="utf-8")
    for use in (copy.load_model, copy.system, copy.store):
        with pytest.raises(
            InputError, match="needs the blending 'clever' of the plugin own.py, found none; say --plugin"
        ):
            use()


def test_each_is_loaded_once_and_told_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plugin(tmp_path, VIEW.format(name="own", bands=9, dtype="float32"))
    monkeypatch.chdir(tmp_path)
    plugins.load([path, "own.py"])
    plugins.load([path])
    assert plugins.given() == [path]
    assert plugins.origin("view", "own") == path and plugins.origin("view", "mel") is None
    assert plugins.record({"view": ["mel", "own"]}) == {"own.py": {"view": ["own"]}}
    assert plugins.record({"view": ["mel"]}) == {}


def test_module_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack").mkdir()
    plugin(tmp_path / "pack", VIEW.format(name="own", bands=9, dtype="float32"), "__init__.py")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load(["pack"])
    assert "own" in VIEWS and plugins.given() == ["pack"]


def test_views_share_what_they_have_in_common() -> None:
    """`Sound.once` computes once for all views of a clip."""
    calls = []

    def shared(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        calls.append(sample_rate)
        return waveform[:1]

    sound = Sound(np.zeros(40_000, np.float32), 22050)
    assert sound.once(shared) is sound.once(shared) and calls == [22050]


def test_view_without_a_grid_is_refused() -> None:
    with pytest.raises(InputError, match="view own: field grid: expected a Grid at 44100 Hz, found 5"):
        View("own", "Own", "dB", lambda rate: 5, lambda sound: sound, lambda rate: {})
