"""Clip-level probabilities and accuracy (Secs. 2.3 and 3.1.3): branches, self-ensemble, late fusion."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import h5py
import numpy as np
from sklearn.metrics import accuracy_score

from data_prep.views import geometry
from multiview.errors import InputError
from multiview.files import replacing, write_json
from multiview.names import SYSTEMS
from multiview.runs import Run
from multiview.segments import cut, even_starts, test_count
from multiview.splits import make_split
from multiview.store import Store

if TYPE_CHECKING:
    import keras

# Segments of a clip when training is monitored: all of a 5 s clip, and as many of a longer one, where
# S of them would take longer than the epoch itself.
MONITOR_SEGMENTS = 5
BATCH_SIZE = 64
PROBABILITY_FLOOR = 1e-7  # as in Keras's cross-entropy, so that one sure mistake costs 16, not infinity


class Features(Protocol):
    """Views of clips, end to end, as in a store."""

    values: dict[str, np.ndarray]
    offsets: dict[str, np.ndarray]
    sample_rate: int


@dataclass(frozen=True)
class Segments:
    """Rows of the clips and first samples of segments, int64 [segments] each, clip by clip."""

    clips: np.ndarray
    starts: np.ndarray


def last_starts(store: Store, clips: np.ndarray) -> np.ndarray:
    """Last possible start of a segment in each clip, int64 [clips]."""
    size = geometry(store.sample_rate)
    lengths = np.diff(store.offsets["raw"])[clips]
    return np.array([size.last_start(int(length)) for length in lengths], dtype=np.int64)


def even_segments(store: Store, clips: np.ndarray, most: int | None = None) -> Segments:
    """S evenly spaced segments of each clip of S seconds, or `most` of them."""
    starts = []
    for clip, last in zip(clips, last_starts(store, clips), strict=True):
        count = test_count(store.samples[clip], store.sample_rate)
        starts.append(even_starts(int(last), min(count, most or count)))
    counts = [len(each) for each in starts]
    return Segments(np.repeat(clips, counts), np.concatenate(starts))


def predict_segments(
    model: keras.Model, features: Features, segments: Segments, batch_size: int = BATCH_SIZE
) -> dict[str, np.ndarray]:
    """Probabilities of every branch of `model` in inference mode; float32 [segments, classes] each.

    `features` is a store, or anything else with `values`, `offsets` and `sample_rate` like one.
    """
    size, outputs = geometry(features.sample_rate), []
    for begin in range(0, len(segments.clips), batch_size):
        batch = slice(begin, begin + batch_size)
        clips, starts = segments.clips[batch], segments.starts[batch]
        inputs = cut(features.values, features.offsets, size, list(model.input), clips, starts)
        outputs.append(model.predict_on_batch(inputs))
    return {branch: np.concatenate([output[branch] for output in outputs]) for branch in outputs[0]}


def average_by_clip(probabilities: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Mean over the segments of each clip: [segments, classes] to [clips, classes], in their order."""
    begins = np.flatnonzero(np.diff(clips, prepend=-1))
    counts = np.diff(begins, append=len(clips))
    return (np.add.reduceat(probabilities, begins, axis=0) / counts[:, np.newaxis]).astype(np.float32)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Eq. (1): mean of -log of the probability of the true class; NaN if any probability is."""
    if not np.isfinite(probabilities).all():
        return float("nan")
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, PROBABILITY_FLOOR)).mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose most probable class, Eq. (7), is the true one."""
    return float(accuracy_score(labels, probabilities.argmax(axis=1)))


def self_ensemble(probabilities: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Eq. (6): branch probabilities weighted with the weights of the kept model; [clips, classes].

    The weights sum to 1, so the result is a distribution; the paper's factor 1/5 would only scale it.
    """
    return sum(weights[branch] * probabilities[branch] for branch in probabilities)


def late_fusion(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the probabilities of separately trained single-view networks; [clips, classes]."""
    return np.mean(probabilities, axis=0)


@dataclass(frozen=True)
class Predictions:
    """Content of `predictions.h5`: clip names, labels, classes, probabilities and weights by branch."""

    clips: list[str]
    labels: np.ndarray
    classes: list[str]
    probabilities: dict[str, np.ndarray]
    weights: dict[str, float]

    def write(self, path: Path) -> None:
        """Write the file, atomically."""
        text, content = h5py.string_dtype("utf-8"), io.BytesIO()
        with h5py.File(content, "w") as file:
            file.create_dataset("clip", data=self.clips, dtype=text)
            file["label"] = self.labels
            file.create_dataset("classes", data=self.classes, dtype=text)
            for branch, values in self.probabilities.items():
                file[f"probability/{branch}"] = values.astype(np.float32)
            file["weight"] = np.array(list(self.weights.values()), np.float32)
            file["weight"].attrs["branches"] = list(self.weights)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getvalue())

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read the file.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        try:
            with h5py.File(path, "r") as file:
                branches = list(file["weight"].attrs["branches"])
                return cls(
                    clips=list(file["clip"].asstr()[()]),
                    labels=file["label"][()],
                    classes=list(file["classes"].asstr()[()]),
                    probabilities={branch: file[f"probability/{branch}"][()] for branch in branches},
                    weights=dict(zip(branches, file["weight"][()].tolist(), strict=True)),
                )
        except (OSError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} cannot be read ({reason}); run multiview evaluate again") from error


def evaluate(run: Run) -> dict:
    """Test the kept model of a run on its fold; write `predictions.h5` and `metrics.json`.

    Returns
    -------
    dict
        Content of `metrics.json`, accuracies as fractions.
    """
    record, store, model = run.read(), run.store(), run.load_model()
    settings = record["settings"]
    rows = make_split(store, settings["fold"], settings["seed"]).test
    segments = even_segments(store, rows)
    outputs = predict_segments(model, store, segments)
    _, branches = SYSTEMS[settings["system"]]
    predictions = Predictions(
        clips=[str(name) for name in store.ids[rows]],
        labels=store.labels[rows],
        classes=store.classes,
        probabilities={branch: average_by_clip(outputs[branch], segments.clips) for branch in branches},
        weights=model.weights_by_branch(),
    )
    predictions.write(run.predictions)
    scores = {
        branch: accuracy(probabilities, predictions.labels)
        for branch, probabilities in predictions.probabilities.items()
    }
    if settings["system"] == "multiview":
        scores["self_ensemble"] = accuracy(
            self_ensemble(predictions.probabilities, predictions.weights), predictions.labels
        )
    metrics = {
        "system": settings["system"],
        "dataset": store.dataset,
        "fold": settings["fold"],
        "clips": len(rows),
        "accuracy": scores,
    }
    write_json(run.metrics, metrics)
    run.update(status="evaluated")
    return metrics
