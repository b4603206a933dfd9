"""The views of single clips, extracted on many cores or machines, and kept until the store is written."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from tqdm import tqdm

from data_prep.datasets.base import ClipFile
from multiview.audio import AudioError, read_audio
from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.support.parallel import workers
from multiview.views import VIEWS, extract, paper_views, parameters

LONGEST_SECONDS = 1800.0  # of a clip; an epoch sees 1.5 s of it, and all of its views are in memory at once


def extract_views(waveform: np.ndarray, sample_rate: int, views: Sequence[str]) -> dict[str, np.ndarray]:
    """`multiview.views.extract`, where a user's own view may raise anything.

    Raises
    ------
    InputError
        With the exception of the user's code, or what does not fit its declaration.
    """
    own = [view for view in views if not VIEWS[view].paper]
    try:
        return extract(waveform, sample_rate, views)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if not own:
            raise
        origins = sorted({origin for view in own if (origin := plugins.origin("view", view))})
        where = f"{f'plugin {origins[0]}: ' if origins else ''}view {' or '.join(own)}"
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{where}: field extract: expected values, found {found}; mend it") from error


def try_views(sample_rate: int, views: Sequence[str]) -> None:
    """Extract a user's own views of two seconds of noise and one of silence, before thousands of clips are read.

    Raises
    ------
    InputError
        As `extract_views`.
    """
    own = [view for view in views if not VIEWS[view].paper]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * sample_rate)
    with np.errstate(all="ignore"):
        for view in own:
            extract_views(np.pad(noise, (0, sample_rate)), sample_rate, [view])


def extract_part(
    clip: ClipFile, part: Path, sample_rate: int, views: Sequence[str], needed: Sequence[str] = ()
) -> str | None:
    """Write the views of one clip to `part`; return None, or why the clip gives none.

    `needed` are the plugins that declare them, which a process of its own has to load.
    """
    plugins.load(needed)
    try:
        waveform = read_audio(clip.path, sample_rate, LONGEST_SECONDS)
    except AudioError as error:
        return str(error)
    values: dict[str, Any] = extract_views(waveform, sample_rate, views)
    with replacing(part) as temporary:
        np.savez(temporary, samples=len(waveform), **values)
    return None


def _code(views: Sequence[str]) -> dict[str, str]:
    """Hashes of the plugins that declare some of `views`, whose parameters may not tell all that has changed."""
    hashes = {}
    for plugin in {origin for view in views if (origin := plugins.origin("view", view))}:
        file = sys.modules[Path(plugin).stem if plugin.endswith(".py") else plugin].__file__
        hashes[Path(plugin).name] = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    return hashes


class Parts:
    """The views of single clips, kept beside the store until it is written.

    A part is named after its sound file, that file's size and time, and the view parameters, so a
    later call takes what an interrupted one finished and nothing that has become stale.
    """

    def __init__(self, store: Path, sample_rate: int, views: Sequence[str] | None = None) -> None:
        self.folder = store.absolute().with_name(store.name + ".parts")
        self.sample_rate = sample_rate
        self.views = tuple(views or paper_views())
        recorded, code = parameters(sample_rate, self.views), _code(self.views)
        self.parameters = json.dumps([recorded, code] if code else recorded, sort_keys=True)

    def path(self, clip: ClipFile) -> Path:
        """Where the part of `clip` is or will be."""
        stat = os.stat(clip.path) if os.path.exists(clip.path) else None
        key = [str(clip.path.absolute()), stat and stat.st_size, stat and stat.st_mtime_ns, self.parameters]
        return self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.npz"

    def extract(self, clips: Sequence[ClipFile], jobs: int, cluster: str | None = None) -> dict[str, str]:
        """Make the parts that are missing; return by clip id why a clip could not be read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        todo = [(clip, self.path(clip)) for clip in clips]
        todo = [(clip, part) for clip, part in todo if not part.exists()]
        if len(todo) < len(clips):
            print(f"{len(clips) - len(todo)} of {len(clips)} clips are extracted already", file=sys.stderr)
        if not todo:
            return {}
        one = joblib.delayed(
            functools.partial(
                extract_part, sample_rate=self.sample_rate, views=self.views, needed=tuple(plugins.given())
            )
        )
        sounds = Path(os.path.commonpath([clip.path.absolute().parent for clip, _ in todo]))
        with workers(jobs, cluster, (sounds, self.folder)):
            # Absolute: the workers of a cluster have working directories of their own.
            items = ((dataclasses.replace(clip, path=clip.path.absolute()), part) for clip, part in todo)
            results = joblib.Parallel(return_as="generator")(one(*item) for item in items)
            progress = tqdm(results, total=len(todo), desc="views", unit="clip")
            return {clip.id: why for (clip, _), why in zip(todo, progress, strict=True) if why}

    def load(self, clips: Sequence[ClipFile]) -> Iterator[dict[str, np.ndarray]]:
        """The views of `clips` in order, one clip in memory at a time."""
        for clip in clips:
            with self._opened(clip) as part:
                yield {view: part[view] for view in self.views}

    def samples(self, clip: ClipFile) -> int:
        """Samples of the clip before padding."""
        with self._opened(clip) as part:
            return int(part["samples"])

    @contextmanager
    def _opened(self, clip: ClipFile) -> Iterator[np.lib.npyio.NpzFile]:
        path = self.path(clip)
        try:
            with np.load(path) as part:
                yield part
        except (EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:  # after a loss of power, say
            path.unlink()
            raise InputError(f"the views of {clip.id} were damaged on disk; repeat the command") from error

    def remove(self) -> None:
        """Delete all parts, once the store is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
