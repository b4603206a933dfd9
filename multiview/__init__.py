"""Multi-view audio and music classification: store to run to report or export, and prediction.

- `load(path)`: the network of a run or of an export, `multiview.load(path).predict(waveform, sample_rate)`
- `train(store, settings, path)`: train one system on one fold, a run
- `evaluate(run)`: test the kept model of a run
- `segments_of(path, sample_rate)`: the views of a sound file's segments, as the kept Keras models take them
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiview.experiment.evaluate import evaluate
    from multiview.experiment.train import train
    from multiview.predict import load
    from multiview.segments import segments_of

__all__ = ["evaluate", "load", "segments_of", "train"]

# What they need, Keras first of all, is loaded only for those who ask for them.
_PLACES = {
    "evaluate": "multiview.experiment.evaluate",
    "load": "multiview.predict",
    "segments_of": "multiview.segments",
    "train": "multiview.experiment.train",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
