"""What the page shows of a sound: its views with playback, what each branch says, and its timeline."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import soundfile

from multiview.app.pictures import COLUMNS, data_address, pictures, time_ticks
from multiview.audio import AudioError, mono_blocks, opened, to_rate
from multiview.predict.predictor import Prediction, Predictor
from multiview.predict.timeline import timeline
from multiview.support.errors import InputError
from multiview.systems import label

MAX_SECONDS = 600  # of a sound; `multiview predict --timeline` takes any
LONG_SECONDS = 10.0  # from here on there is a timeline
HOP_SECONDS = 0.5
TOP = 5  # classes
PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("multiview.app", "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Opinion:
    """What a branch says, or all together by Eq. (6): `classes`, most probable first, with their probabilities."""

    label: str
    weight: float | None
    classes: list[tuple[str, float]]


def opinions(predictor: Predictor, prediction: Prediction) -> list[Opinion]:
    """Eq. (6) first, where there are several branches, and each branch with its weight in it."""
    branches = [
        Opinion(label(name), predictor.weights[name] if len(predictor.weights) > 1 else None, prediction.top(TOP, name))
        for name in prediction.branches
    ]
    return [Opinion("Eq. (6), all together", None, prediction.top(TOP)), *branches] if len(branches) > 1 else branches


def answer(predictor: Predictor, path: Path) -> str:
    """HTML of all that there is to say of a sound file, or one line where it is no sound."""
    try:
        waveform = _read(path, predictor.sample_rate)
        (prediction,) = predictor.predict_files([path])
        if isinstance(prediction, AudioError):
            raise prediction
        seconds = len(waveform) / predictor.sample_rate
        long = _timeline(predictor, path) if seconds > LONG_SECONDS else None
    except AudioError as error:
        reason = str(error).replace(f"{path.parent}{os.sep}", "")  # where it lies here is no matter of the visitor's
        return complaint(f"{path.name}: {reason}; expected a sound file")
    except InputError as error:
        return complaint(f"{path.name}: {error}")
    return PAGES.get_template("answer.html.j2").render(
        name=path.name,
        seconds=seconds,
        prediction=prediction,
        opinions=opinions(predictor, prediction),
        sound=_playback(waveform, predictor.sample_rate),
        pictures=pictures(waveform, predictor.sample_rate, predictor.views),
        times=time_ticks(seconds),
        columns=COLUMNS,
        timeline=long,
        hop=HOP_SECONDS,
    )


def complaint(line: str) -> str:
    """HTML of one line that says what went wrong."""
    return PAGES.from_string('<p class="complaint" role="alert">{{ line }}</p>').render(line=line)


def _read(path: Path, sample_rate: int) -> np.ndarray:
    """The sound, float32 mono [samples]; nothing beyond the longest that is taken is read, whatever its header says."""
    blocks, read = [], 0
    with opened(path) as file:
        for block in mono_blocks(file):
            blocks.append(block)
            read += len(block)
            if read > MAX_SECONDS * file.samplerate:
                raise InputError(
                    f"expected at most {MAX_SECONDS // 60} minutes, found more; cut it, or use multiview predict"
                )
        return to_rate(np.concatenate(blocks), file.samplerate, sample_rate)


def _playback(waveform: np.ndarray, sample_rate: int) -> str:
    content = io.BytesIO()
    soundfile.write(content, np.clip(waveform, -1, 1), sample_rate, format="MP3")
    return data_address(content.getvalue(), "audio/mpeg")


def _timeline(predictor: Predictor, path: Path) -> dict[str, str]:
    """Addresses of the timeline's picture and table."""
    with tempfile.TemporaryDirectory(prefix="multiview-") as folder:
        timeline(predictor, path, Path(folder), HOP_SECONDS, path.name)
        picture, table = (Path(folder, f"timeline.{kind}").read_bytes() for kind in ("png", "csv"))
    return {"picture": data_address(picture, "image/png"), "table": data_address(table, "text/csv")}
