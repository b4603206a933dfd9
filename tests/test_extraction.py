"""Extraction: killed and continued, by two callers at once, on a Dask cluster, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from data_prep import extraction
from data_prep import prepare as command
from data_prep.datasets import demo
from data_prep.datasets.base import ClipFile
from multiview.store import Store
from multiview.support import files, parallel
from multiview.support.errors import InputError
from multiview.views import extract
from tests.benchmarks.prepare import watched_memory

CLIPS = 240  # of the demo


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    demo.index(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The store of the demo, made in one go by one process."""
    path = tmp_path_factory.mktemp("undisturbed") / "s.h5"
    command.prepare("demo", demo.index(sounds), path, 22050, jobs=1)
    return path.read_bytes()


def start(sounds: Path, store: Path, *arguments: object) -> subprocess.Popen:
    """The command in a process group of its own; what it says is in `printed`."""
    call = ["demo", "--audio", sounds, "--store", store, *arguments]
    # A file: orphaned workers would keep a pipe open.
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", "data_prep.prepare", *map(str, call)],
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    process.output = output
    return process


def printed(process: subprocess.Popen) -> str:
    """What a process has printed by its end."""
    process.wait(timeout=120)
    process.output.seek(0)
    return process.output.read()


def parts(store: Path) -> int:
    return len(list(Path(f"{store}.parts").glob("[!.]*.npz")))


class Crash(BaseException):
    """What no code handles, as it handles no kill."""


@pytest.mark.parametrize("renamed", [False, True], ids=["before", "after"])
def test_crash_at_any_rename_changes_nothing(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: bool
) -> None:
    """The command ends at each rename in turn, once before and once after it; repeated, it gives the same bytes."""
    index, replace = demo.index(sounds), os.replace
    index = dataclasses.replace(index, clips=index.clips[::40])
    command.prepare("demo", index, tmp_path / "undisturbed.h5", 22050)
    left = [0]

    def crash(source: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] or renamed:
            replace(source, target)
        if not left[0]:
            raise Crash

    monkeypatch.setattr(files.os, "replace", crash)
    for moment in range(1, len(index.clips) + 2):  # a part a clip, and the store
        store, left[0] = tmp_path / f"{moment}.h5", moment
        with pytest.raises(Crash):
            command.prepare("demo", index, store, 22050)
        assert parts(store) == min(moment - 1 + renamed, len(index.clips))
        assert store.exists() == (renamed and moment == len(index.clips) + 1)
        command.prepare("demo", index, store, 22050)
        assert store.read_bytes() == (tmp_path / "undisturbed.h5").read_bytes()
    assert {path.suffix for path in tmp_path.iterdir()} == {".h5"}  # no parts, nothing temporary


def test_killed_command_goes_on_where_it_was(sounds: Path, undisturbed: bytes, tmp_path: Path) -> None:
    """Kill -9 of the command and its processes half way, as when a machine goes down."""
    store = tmp_path / "s.h5"
    process = start(sounds, store, "--jobs", 2)
    while parts(store) < CLIPS // 2 and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not store.exists() and CLIPS // 2 <= (done := parts(store)) < CLIPS
    assert f"{done} of {CLIPS} clips are extracted already" in printed(start(sounds, store, "--jobs", 1))
    assert store.read_bytes() == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.h5"]


@pytest.mark.long
def test_killed_at_ten_moments_and_continued(sounds: Path, undisturbed: bytes, tmp_path: Path) -> None:
    """Each call is killed some clips further than the one before; the last one is left alone."""
    store, draw, done, groups = tmp_path / "s.h5", random.Random(0), 0, []
    for target in sorted(draw.sample(range(10, CLIPS), 9)):
        process = start(sounds, store, "--jobs", 1 + target % 2)
        groups.append(process.pid)
        while parts(store) < target and process.poll() is None:
            time.sleep(0.002)
        if target % 3:
            time.sleep(0.003 * draw.random())
        # Half of the time with its processes, as when a machine goes down; else alone, as by the kernel.
        (os.killpg if target % 4 < 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        assert not store.exists() and parts(store) >= max(done, target)
        done = parts(store)
    # The tenth moment: while the store is written.
    process = start(sounds, store, "--jobs", 1)
    while not list(tmp_path.glob(".s.*.tmp.h5")) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert f"{CLIPS} of {CLIPS} clips are extracted already" in printed(start(sounds, store, "--jobs", 1))
    assert store.read_bytes() == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.h5"]
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def test_killed_after_the_store_was_written(sounds: Path, undisturbed: bytes, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    store.write_bytes(undisturbed)
    (tmp_path / "s.h5.parts").mkdir()
    (tmp_path / "s.h5.parts" / "left.npz").touch()
    assert start(sounds, store).wait() == 0
    assert not (tmp_path / "s.h5.parts").exists()


def test_second_caller_is_told(sounds: Path, undisturbed: bytes, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    first = start(sounds, store, "--jobs", 1)
    while not parts(store):
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)  # it must not end before the second one begins
    second = start(sounds, store, "--jobs", 1)
    error = printed(second)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert error.strip().splitlines()[-1].endswith("is being prepared by another process; wait for it")
    assert first.wait() == 0 and store.read_bytes() == undisturbed


# A Dask cluster


def test_cluster_with_a_worker_killed_half_way(
    cluster: tuple[str, list[subprocess.Popen]],
    sounds: Path,
    undisturbed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, workers = cluster
    store = tmp_path / "s.h5"
    # With relative paths, which the workers, in another folder, could not follow.
    monkeypatch.chdir(tmp_path)
    process = start(Path(os.path.relpath(sounds)), Path("s.h5"), "--cluster", address)
    while parts(store) < CLIPS // 2 and process.poll() is None:
        time.sleep(0.002)
    workers[0].kill()
    assert CLIPS // 2 <= parts(store) < CLIPS
    assert "views: 100%" in printed(process) and process.returncode == 0
    assert store.read_bytes() == undisturbed


def test_single_worker_of_a_cluster_is_used(cluster: tuple[str, list[subprocess.Popen]], tmp_path: Path) -> None:
    """The other one was killed above."""
    with parallel.workers(1, cluster[0], [tmp_path]):
        places = set(joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(4)))
    assert places <= {worker.pid for worker in cluster[1]}


def test_cluster_workers_must_see_the_files(
    cluster: tuple[str, list[subprocess.Popen]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(InputError, match=r"expected every worker of the cluster to see .*nowhere"),
        parallel.workers(1, cluster[0], [tmp_path, tmp_path / "nowhere"]),
    ):
        pass
    monkeypatch.setattr(parallel, "CONNECT_SECONDS", 1)
    with (
        pytest.raises(InputError, match="expected a Dask scheduler at tcp://127.0.0.1:9, found none"),
        parallel.workers(1, "tcp://127.0.0.1:9", []),
    ):
        pass


def test_cluster_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(InputError, match="needs Dask, found none; say pip install"),
        parallel.workers(1, "tcp://x", []),
    ):
        pass


@pytest.mark.parametrize("address", ["", "foo", "localhost", "127.0.0.1:8786"])
def test_cluster_address_is_checked(address: str) -> None:
    with pytest.raises(InputError, match="expected --cluster tcp://host:port, found"), parallel.workers(1, address, []):
        pass


def die(clip: ClipFile, part: Path, **_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_dying_worker_is_one_line(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "extract_part", die)
    with pytest.raises(InputError, match="a worker process died, .* with fewer --jobs: what is finished is kept"):
        extraction.Parts(tmp_path / "s.h5", 22050).extract(demo.index(sounds).clips[:4], jobs=2)


# Memory and threads


@pytest.mark.long
def test_memory_stays_within_bounds(tmp_path: Path) -> None:
    """At most 1 GiB and 300 MiB a job, with clips of DCASE2016's kind."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(24):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], rng.uniform(-0.5, 0.5, (30 * 44100, 2)), 44100, subtype="PCM_24")
    table = "path,label\n" + "".join(f"{path.name},{'ab'[number % 2]}\n" for number, path in enumerate(paths))
    (tmp_path / "clips.csv").write_text(table)
    store = tmp_path / "s.h5"
    call = [sys.executable, "-m", "data_prep.prepare", "folder", "--csv", str(tmp_path / "clips.csv")]
    process = subprocess.Popen([*call, "--store", str(store), "--jobs", "2"], stderr=subprocess.DEVNULL)
    with watched_memory(process.pid) as peaks:
        assert process.wait() == 0
    assert Store(store).samples.sum() == 24 * 30 * 44100
    assert 50 < peaks["job"] < 300 and 50 < peaks["main"] < 1024


def test_threads_do_not_change_the_bytes(rng: np.random.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    waveforms = [rng.uniform(-0.5, 0.5, 66_150).astype(np.float32) for _ in range(12)]
    with threadpool_limits(1):  # without care, several threads of BLAS would sum in another order
        alone = [extract(waveform, 22050) for waveform in waveforms]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda waveform: extract(waveform, 22050), waveforms))
    for one, other in zip(alone, together, strict=True):
        for view in one:
            np.testing.assert_array_equal(one[view], other[view])


def test_long_recording_equals_its_blocks(rng: np.random.Generator) -> None:
    """Two minutes need several blocks of frames; each frame is as if it were alone."""
    waveform = rng.uniform(-0.5, 0.5, 120 * 22050).astype(np.float32)
    whole = extract(waveform, 22050)
    assert len(whole["mel"]) == 1 + (len(waveform) - 882) // 441 > 2 * 2048
    for frame in (0, 2047, 2048, 5000, len(whole["mel"]) - 75):
        piece = extract(waveform[frame * 441 :][: 441 * 76 + 882], 22050)
        for view in ("mel", "gammatone"):
            np.testing.assert_allclose(piece[view][:70], whole[view][frame : frame + 70], atol=1e-3)


def test_a_recording_is_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours in a small file are refused once what a clip may last is read, in the memory of that."""
    monkeypatch.setattr(extraction, "LONGEST_SECONDS", 120.0)
    long, clip = tmp_path / "long.flac", tmp_path / "clip.flac"
    with soundfile.SoundFile(long, "w", 8000, 1) as file:
        for _ in range(120):
            file.write(np.zeros(60 * 8000, np.int16))
    soundfile.write(clip, np.zeros(119 * 8000, np.int16), 8000)
    assert long.stat().st_size < 5 * 2**20
    tracemalloc.start()
    reason = extraction.extract_part(ClipFile(long, "long", 0, "long"), tmp_path / "long.npz", 22050, ["raw"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reason == "longer than 2 min; cut it into clips" and peak < 20 * 2**20
    assert extraction.extract_part(ClipFile(clip, "clip", 0, "clip"), tmp_path / "clip.npz", 22050, ["raw"]) is None
