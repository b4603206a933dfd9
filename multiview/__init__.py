"""Multi-view audio and music classification: store to run to report or export, and prediction.

- `prepare(dataset, store)`: sound files to a store of views
- `train(store, run)`: train one system on one fold, a run
- `evaluate(run)`: test the kept model of a run
- `report(directory)`: Table 3 and Figure 2 of the runs below a directory
- `load(path)`: the network of a run or of an export, `multiview.load(path).predict(waveform, sample_rate)`
- `history_table(run)`, `metrics_table(*runs)`, `predictions_table(run)`: what runs left, for pandas
- `segments_of(path, sample_rate)`: the views of a sound file's segments, as the kept Keras models take them
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiview.api import evaluate, prepare, train
    from multiview.experiment.tables import history_table, metrics_table, predictions_table
    from multiview.predict import load
    from multiview.report import report
    from multiview.segments import segments_of

__all__ = [
    "evaluate",
    "history_table",
    "load",
    "metrics_table",
    "predictions_table",
    "prepare",
    "report",
    "segments_of",
    "train",
]

# What they need, Keras first of all, is loaded only for those who ask for them.
_PLACES = {
    "evaluate": "multiview.api",
    "history_table": "multiview.experiment.tables",
    "load": "multiview.predict",
    "metrics_table": "multiview.experiment.tables",
    "predictions_table": "multiview.experiment.tables",
    "prepare": "multiview.api",
    "report": "multiview.report",
    "segments_of": "multiview.segments",
    "train": "multiview.api",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        module = importlib.import_module(_PLACES[name])
        # A package of that name is an attribute now, and stays it: `report`, which can be called.
        return globals().get(name) or getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
