"""Stores of noise, made faster than sounds could be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from multiview.store import Clip, write_store
from multiview.views import extract, geometry, paper_views

SAMPLE_RATE = 22050


def synthesised(path: Path, clips: int, seconds: float = 5, classes: int = 10, folds: int = 5) -> Path:
    """A store of `clips` of one length, each an excerpt of the same noise; every class is in every fold."""
    size, samples, rng = geometry(SAMPLE_RATE, paper_views()), int(seconds * SAMPLE_RATE), np.random.default_rng(0)
    noise = extract(rng.uniform(-0.5, 0.5, 2 * samples).astype(np.float32), SAMPLE_RATE)

    def features() -> Iterator[dict[str, np.ndarray]]:
        for _ in range(clips):
            lengths = {view: size.frames(view, samples) for view in noise}
            starts = {view: rng.integers(len(noise[view]) - length) for view, length in lengths.items()}
            yield {view: noise[view][starts[view] :][:length] for view, length in lengths.items()}

    rows = [
        Clip(f"{n}.wav", n % classes, n // classes % folds + 1, "development", str(n), samples) for n in range(clips)
    ]
    names = [f"class {n}" for n in range(classes)]
    write_store(
        path, dataset="noise", sample_rate=SAMPLE_RATE, classes=names, clips=rows, features=features(), software={}
    )
    return path
