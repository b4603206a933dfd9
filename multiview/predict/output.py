"""What `multiview predict` prints: answers as text, JSON or CSV, and timelines."""

from __future__ import annotations

import csv
import errno
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from multiview.audio import AudioError
from multiview.predict.predictor import UNKNOWN, Prediction, Predictor
from multiview.predict.recordings import Recordings
from multiview.predict.timeline import timeline
from multiview.support.errors import InputError


@dataclass(frozen=True)
class Wanted:
    """What answers are to say.

    Parameters
    ----------
    top : int
        Classes, but for CSV, which has all.
    branches : bool
        Whether to add what each branch says.
    threshold : float
        Below it the best class is `unknown`.
    """

    top: int
    branches: bool = False
    threshold: float = 0.0


@dataclass(frozen=True)
class Form:
    """A form of answers: how one and how an error is printed, and what comes before all."""

    answer: Callable[[str, Prediction, Wanted], None]
    error: Callable[[str, AudioError], None]
    head: Callable[[Predictor, Wanted], None] = lambda predictor, wanted: None


def _reason(error: AudioError) -> str:
    return f"{error}; expected a sound file"


def _complain(name: str, error: AudioError) -> None:
    print(f"multiview: error: {name}: {_reason(error)}", file=sys.stderr)


def _notes(prediction: Prediction, wanted: Wanted) -> dict[str, str]:
    """Those of the sound, and why it is of no class, which may be called `unknown` itself."""
    if prediction.probabilities.max() < wanted.threshold:
        return {**prediction.notes, UNKNOWN: f"no class reaches {wanted.threshold:.1%}"}
    return {**prediction.notes, **({UNKNOWN: "all classes are alike"} if prediction.undecided() else {})}


def _text(name: str, prediction: Prediction, wanted: Wanted) -> None:
    notes = _notes(prediction, wanted)
    print(name)
    if UNKNOWN in notes:
        print(f"  {UNKNOWN}: {notes.pop(UNKNOWN)}")
    for label, probability in prediction.top(wanted.top):
        print(f"  {probability:6.1%}  {label}")
    for word, sentence in notes.items():
        print(f"  {word}: {sentence}")
    if wanted.branches:
        print(f"  disagreement of the branches: {prediction.disagreement:.2f}")
        for branch in prediction.branches:
            ((_, probability),) = prediction.top(1, branch)
            print(f"    {branch:10} {probability:6.1%}  {prediction.best(branch=branch)}")


def _json(name: str, prediction: Prediction, wanted: Wanted) -> None:
    answer: dict[str, Any] = {
        "file": name,
        "class": prediction.best(wanted.threshold),
        "classes": dict(prediction.top(wanted.top)),
        "notes": _notes(prediction, wanted),
    }
    if wanted.branches:
        answer["disagreement"] = prediction.disagreement
        answer["branches"] = {branch: dict(prediction.top(wanted.top, branch)) for branch in prediction.branches}
    print(json.dumps(answer))


def _json_error(name: str, error: AudioError) -> None:
    print(json.dumps({"file": name, "error": _reason(error)}))


def _write_row(cells: Sequence[str]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


def _csv_head(predictor: Predictor, wanted: Wanted) -> None:
    more = ["disagreement", *(f"class_{branch}" for branch in predictor.weights)] if wanted.branches else []
    _write_row(["file", "class", *predictor.classes, *more, "notes"])


def _csv(name: str, prediction: Prediction, wanted: Wanted) -> None:
    cells = [name, prediction.best(wanted.threshold), *(f"{value:.6f}" for value in prediction.probabilities)]
    if wanted.branches:
        cells += [f"{prediction.disagreement:.6f}", *(prediction.best(branch=each) for each in prediction.branches)]
    _write_row([*cells, " ".join(_notes(prediction, wanted))])


FORMATS = {
    "text": Form(_text, _complain),
    "json": Form(_json, _json_error),
    "csv": Form(_csv, _complain, _csv_head),
}


def print_answers(predictor: Predictor, sounds: Recordings, form: str, wanted: Wanted) -> int:
    """Print the classes of each sound, name what cannot be read, and return how many those are.

    Errors go to standard error; in JSON they are lines among the answers.

    Parameters
    ----------
    form : str
        A key of `FORMATS`.
    wanted : Wanted
        What the answers are to say.
    """
    failed, chosen = 0, FORMATS[form]
    chosen.head(predictor, wanted)
    predictions = predictor.predict_files(path for _, path in sounds)
    # Where the answers go elsewhere, the bar shows that there is progress.
    bar = tqdm(sounds, unit="file", leave=False, disable=True if sys.stdout and sys.stdout.isatty() else None)
    for (name, _), prediction in zip(bar, predictions, strict=True):
        if isinstance(prediction, AudioError):
            chosen.error(name, prediction)
            failed += 1
        else:
            chosen.answer(name, prediction, wanted)
        print(end="", flush=True)
    return failed


def write_timelines(predictor: Predictor, sounds: Recordings, directory: Path, hop_seconds: float) -> int:
    """Write the timeline of each recording, name what cannot be read, and return how many those are.

    One goes into `directory` itself, several into sub-folders `NAME.timeline`.

    Raises
    ------
    InputError
        If two recordings are of one name.
    """
    names, failed = [Path("stdin" if name == "-" else name).name for name, _ in sounds], 0
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"expected recordings of different names, found two {min(twice)}; call twice")
    for name, (shown, path) in zip(names, sounds, strict=True):
        # Not the recording's own name, which may lie there.
        place = directory / f"{name}.timeline" if len(names) > 1 else directory
        try:
            timeline(predictor, path, place, hop_seconds, name)
            print(f"{shown}: {place / 'timeline.csv'} {place / 'timeline.png'}", flush=True)
        except AudioError as error:
            _complain(shown, error)
            failed += 1
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            _complain(shown, AudioError(f"its name is too long for a folder {place.name[:20]}..."))
            failed += 1
    return failed
