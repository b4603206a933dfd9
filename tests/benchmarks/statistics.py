"""How many training segments the statistics of batch normalisation need in a network of averaged weights.

    python -m tests.benchmarks.statistics RUN... [--segments 128,256,512]

RUNs were trained with `--averaging`, and have their models. Takes the statistics of each anew from so many segments,
evenly over its training clips, and prints a row for them and one for the network as it was kept: means over the runs of
the loss on validation clips and of the accuracies. Choose by the validation columns; the test clips are there to be
reported. Changes nothing on disk.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from multiview.averaging import AveragedNetwork
from multiview.evaluation import accuracy, average_by_clip, cross_entropy, predict_segments, self_ensemble
from multiview.experiment.run import Run
from multiview.networks import BlendedModel
from multiview.options import numbers
from multiview.segments import MONITOR_SEGMENTS, cut, test_segments
from multiview.splits import make_split
from multiview.store import Store
from multiview.systems import find_system
from multiview.training import statistics_segments


def figures(model: BlendedModel, store: Store, clips: np.ndarray, scored: str) -> tuple[float, float, float]:
    """Cross-entropy of segments, accuracy of clips, and that of the self-ensemble, NaN for one branch; in %."""
    segments = test_segments(clips, store.samples[clips], store.size, most=MONITOR_SEGMENTS)
    found, labels = predict_segments(model, store, segments), store.labels[clips]
    loss = cross_entropy(found[scored], store.labels[segments.clips])
    by_clip = {branch: average_by_clip(each, segments.clips) for branch, each in found.items()}
    together = accuracy(self_ensemble(by_clip, model.weights_by_branch()), labels) if len(by_clip) > 1 else np.nan
    return loss, 100 * accuracy(by_clip[scored], labels), 100 * together


def rows(path: Path, counts: list[int]) -> list[dict]:
    """What a run says: as it was kept, and with the statistics of each number of segments."""
    run = Run(path)
    store, settings, model = run.store(), run.settings(), run.load_model()
    split, scored = make_split(store, settings.fold, settings.seed), find_system(settings.system).scored
    averaged, found = None, []
    for count in (0, *counts):
        if count:
            segments = cut(store, statistics_segments(store, split.train, count), list(model.input))
            averaged = averaged or AveragedNetwork(model, segments)
            averaged.segments = segments
            averaged.renew()
        loss, validation, _ = figures(model, store, split.validation, scored)
        _, test, together = figures(model, store, split.test, scored)
        found.append({"segments": count or "as kept", "validation loss": loss, "validation, %": validation} |
                     {"test, %": test, "self-ensemble, %": together})  # fmt: skip
    keras.utils.clear_session(free_memory=True)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--segments", type=numbers, default=[128, 256, 512])
    args = parser.parse_args()
    every = pd.DataFrame([row for path in args.runs for row in rows(path, args.segments)])
    found = every.groupby("segments", sort=False).mean().reset_index()
    print(found.to_markdown(index=False, floatfmt=("", ".3f", ".1f", ".2f", ".2f")))


if __name__ == "__main__":
    main()
