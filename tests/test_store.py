"""The store: what is on disk, what is refused, and that nothing is half written."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.datasets.base import Index
from data_prep.prepare import prepare
from multiview.store import Clip, Store, write_store
from multiview.support.errors import InputError
from multiview.views import extract, paper_views


def test_contract_on_disk(tiny_store: Store, demo_index: Index) -> None:
    """As others may read it, with h5py alone."""
    with h5py.File(tiny_store.path) as file:
        assert file.attrs["format_version"] == 1
        assert file.attrs["dataset"] == "demo"
        assert file.attrs["sample_rate"] == 22050
        assert bool(file.attrs["complete"]) is True
        assert set(json.loads(file.attrs["views"])) == set(paper_views())
        assert "librosa" in json.loads(file.attrs["software"])
        assert file["classes"].asstr()[()].tolist() == list(demo_index.classes[:3])
        assert set(file["clips"]) == {"id", "label", "fold", "split", "source", "samples"}
        for view in paper_views():
            values, offsets = file[f"views/{view}/values"], file[f"views/{view}/offsets"]
            assert offsets.dtype == np.int64 and len(offsets) == 61
            assert offsets[0] == 0 and offsets[-1] == len(values)
            assert values.dtype == (np.int16 if view == "raw" else np.float32)
            assert values.shape[1:] == (() if view == "raw" else (64,))


def test_values_are_the_views_of_the_files(tiny_store: Store, demo_index: Index) -> None:
    import soundfile

    for row in (0, 17, 59):
        path = next(clip.path for clip in demo_index.clips if clip.id == tiny_store.ids[row])
        waveform, rate = soundfile.read(path, dtype="float32")
        expected = extract(waveform, rate)
        assert tiny_store.samples[row] == len(waveform)
        for view in paper_views():
            begin, end = tiny_store.offsets[view][row : row + 2]
            np.testing.assert_array_equal(tiny_store.values[view][begin:end], expected[view])


def test_loading_does_not_copy_the_values(tiny_store: Store) -> None:
    size = tiny_store.path.stat().st_size
    tracemalloc.start()
    store = Store(tiny_store.path)
    total = sum(float(store.values[view][::100].sum()) for view in paper_views())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(total)
    assert peak < 0.1 * size


def test_chunked_store_of_another_writer_is_read_too(tiny_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "chunked.h5"
    shutil.copy(tiny_store.path, path)
    with h5py.File(path, "a") as file:
        values = file["views/mel/values"][()]
        del file["views/mel/values"]
        file.create_dataset("views/mel/values", data=values, chunks=(100, 64), compression="gzip")
    np.testing.assert_array_equal(Store(path).values["mel"], tiny_store.values["mel"])


def change(store: Store, path: Path, edit) -> Path:
    shutil.copy(store.path, path)
    with h5py.File(path, "a") as file:
        edit(file)
    return path


def set_views(file: h5py.File) -> None:
    views = json.loads(file.attrs["views"])
    views["cqt"]["hop"] = 256
    file.attrs["views"] = json.dumps(views)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: file.attrs.__setitem__("format_version", 7), "format_version 1, found 7"),
        (lambda file: file.attrs.__setitem__("complete", False), "never finished"),
        (lambda file: file.attrs.__delitem__("format_version"), "found None"),
        (set_views, "expected cqt with hop = 512, found 256"),
        (lambda file: file.attrs.__setitem__("sample_rate", 16000), "16000"),
        (lambda file: file.__delitem__("clips/fold"), "not a store"),
    ],
)
def test_store_that_does_not_fit_is_refused(tiny_store: Store, tmp_path: Path, edit, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Store(change(tiny_store, tmp_path / "store.h5", edit))


def test_truncated_foreign_and_missing_files_are_refused(tiny_store: Store, tmp_path: Path) -> None:
    truncated, foreign = tmp_path / "truncated.h5", tmp_path / "foreign.h5"
    truncated.write_bytes(tiny_store.path.read_bytes()[:100_000])
    foreign.write_text("not HDF5")
    for path in (truncated, foreign):
        with pytest.raises(InputError, match="truncated, damaged or not a store"):
            Store(path)
    with pytest.raises(InputError, match="found no file"):
        Store(tmp_path / "none.h5")


@pytest.fixture
def small_disk():
    """No file may grow beyond a size, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_leaves_no_half_store(
    tmp_path: Path, demo_index: Index, small_disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.h5"
    small_disk(5_000_000)  # enough for the views of a clip, not for the store
    with pytest.raises(OSError):
        prepare("demo", demo_index, path, 22050)
    assert not path.exists() and not list(tmp_path.glob("*.tmp*")) and not list(tmp_path.glob(".*"))
    parts = list((tmp_path / "store.h5.parts").iterdir())
    assert len(parts) == len(demo_index.clips)
    small_disk(resource.RLIM_INFINITY)
    # What was extracted is not extracted again.
    monkeypatch.setattr("data_prep.extraction.extract_part", lambda *_, **__: "extracted again")
    prepare("demo", demo_index, path, 22050)
    assert len(Store(path)) == len(demo_index.clips)
    assert not (tmp_path / "store.h5.parts").exists()


def test_failed_write_keeps_the_store_that_was_there(tiny_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    shutil.copy(tiny_store.path, path)

    def broken():
        raise RuntimeError("reading failed")
        yield

    with pytest.raises(RuntimeError, match="reading failed"):
        write_store(
            path,
            dataset="x",
            sample_rate=22050,
            classes=["a"],
            clips=[Clip("a.wav", 0, 1, "development", "a", 40_000)],
            features=broken(),
            software={},
        )
    assert Store(path).fingerprint == tiny_store.fingerprint
    assert [item.name for item in tmp_path.iterdir()] == ["store.h5"]
