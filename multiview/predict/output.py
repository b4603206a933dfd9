"""What `multiview predict` reads and prints: sounds from wherever they are, and answers in several forms."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from multiview.audio import AudioError, look_into
from multiview.predict.predictor import Prediction, Predictor
from multiview.predict.timeline import timeline
from multiview.support.errors import InputError

Recordings = Sequence[tuple[str, Path]]  # how the user named it, and where it is


@contextlib.contextmanager
def recordings(arguments: Sequence[str]) -> Iterator[Recordings]:
    """The sounds that the user named: files, those in folders, and standard input as `-`.

    At the end, what lies in the folders and is no sound is named on standard error.

    Raises
    ------
    InputError
        If standard input is named and closed.
    """
    found, unused = [], []
    with contextlib.ExitStack() as stack:
        for argument in dict.fromkeys(arguments):
            path = Path(argument)
            if argument == "-":
                if sys.stdin is None:
                    raise InputError("expected a sound on standard input, found it closed")
                # Formats are told by looking around in a file, which a pipe does not allow.
                spooled = stack.enter_context(tempfile.NamedTemporaryFile(prefix="multiview-"))
                shutil.copyfileobj(sys.stdin.buffer, spooled)
                spooled.flush()
                found.append(("-", Path(spooled.name)))
            elif path.is_dir():
                # A folder without any is skipped like a file that cannot be read.
                inside = look_into(path)
                found += [(str(each), each) for each in inside.sounds or [path]]
                unused += [f"{path}: {line}" for line in inside.unused(path)]
            else:
                found.append((argument, path))
        yield found
    for line in unused:
        print(line, file=sys.stderr)


def _skip(name: str, error: AudioError) -> None:
    print(f"multiview: error: {name}: {error}; expected a sound file", file=sys.stderr)


def _text(name: str, prediction: Prediction, top: int, branches: bool) -> None:
    print(name)
    for label, probability in prediction.top(top):
        print(f"  {probability:6.1%}  {label}")
    if branches:
        print(f"  disagreement of the branches: {prediction.disagreement:.2f}")
        for branch in prediction.branches:
            ((label, probability),) = prediction.top(1, branch)
            print(f"    {branch:10} {probability:6.1%}  {label}")


def _json(name: str, prediction: Prediction, top: int, branches: bool) -> None:
    answer: dict[str, Any] = {"file": name, "classes": dict(prediction.top(top))}
    if branches:
        answer["disagreement"] = prediction.disagreement
        answer["branches"] = {branch: dict(prediction.top(top, branch)) for branch in prediction.branches}
    print(json.dumps(answer))


def _csv_head(predictor: Predictor, branches: bool) -> None:
    more = ["disagreement", *(f"class_{branch}" for branch in predictor.weights)] if branches else []
    csv.writer(sys.stdout, lineterminator="\n").writerow(["file", "class", *predictor.classes, *more])


def _csv(name: str, prediction: Prediction, top: int, branches: bool) -> None:
    cells = [name, prediction.top(1)[0][0], *(f"{value:.6f}" for value in prediction.probabilities)]
    if branches:
        cells += [f"{prediction.disagreement:.6f}", *(prediction.top(1, each)[0][0] for each in prediction.branches)]
    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


FORMATS: dict[str, Callable[[str, Prediction, int, bool], None]] = {"text": _text, "json": _json, "csv": _csv}


def print_answers(predictor: Predictor, sounds: Recordings, form: str, top: int, branches: bool) -> int:
    """Print the classes of each sound, name what cannot be read on standard error, and return how many those are.

    Parameters
    ----------
    form : str
        A key of `FORMATS`.
    top : int
        Classes to print, but for `csv`, which has all.
    branches : bool
        Whether to add what each branch says.
    """
    failed = 0
    if form == "csv":
        _csv_head(predictor, branches)
    predictions = predictor.predict_files(path for _, path in sounds)
    # Where the answers go elsewhere, the bar shows that there is progress.
    bar = tqdm(sounds, unit="file", leave=False, disable=True if sys.stdout and sys.stdout.isatty() else None)
    for (name, _), prediction in zip(bar, predictions, strict=True):
        if isinstance(prediction, AudioError):
            _skip(name, prediction)
            failed += 1
        else:
            FORMATS[form](name, prediction, top, branches)
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
            _skip(shown, error)
            failed += 1
    return failed
