"""What leaving segments without sound out of an answer is worth to trained networks that knew of no such thing.

    python -m tests.benchmarks.silence RUN...

RUNs were trained with `--averaging` and `--no-skip-silence`, and have their models. Prints by system the means over its
runs, with all segments, with those that hold sound, and with statistics of batch normalisation taken from such alone,
too: the loss of clips and the accuracies. Choose by the validation columns; the test clips are there to be reported.
Changes nothing on disk.
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
from multiview.segments import cut, test_segments, without_silence
from multiview.splits import make_split
from multiview.store import Store
from multiview.systems import find_system
from multiview.training import statistics_segments


def figures(
    model: BlendedModel, store: Store, clips: np.ndarray, scored: str, skip_silence: bool
) -> tuple[float, float, float]:
    """Cross-entropy of clips, their accuracy, and that of the self-ensemble, NaN for one branch; in %."""
    segments = test_segments(clips, store.samples[clips], store.size)
    if skip_silence:
        segments = without_silence(store, segments, list(model.input))
    found, labels = predict_segments(model, store, segments), store.labels[clips]
    by_clip = {branch: average_by_clip(each, segments.clips) for branch, each in found.items()}
    together = accuracy(self_ensemble(by_clip, model.weights_by_branch()), labels) if len(by_clip) > 1 else np.nan
    return cross_entropy(by_clip[scored], labels), 100 * accuracy(by_clip[scored], labels), 100 * together


def rows(path: Path) -> list[dict]:
    """What a run says with all segments, with those with sound, and with their statistics."""
    run = Run(path)
    store, settings, model = run.store(), run.settings(), run.load_model()
    split, scored = make_split(store, settings.fold, settings.seed), find_system(settings.system).scored
    found = []
    for name, skip_silence, renew in (
        ("all", False, False),
        ("with sound", True, False),
        ("with sound, statistics, too", True, True),
    ):
        if renew:
            views = list(model.input)
            segments = statistics_segments(store, split.train, heard_by=views)
            AveragedNetwork(model, cut(store, segments, views)).renew()
        loss, validation, _ = figures(model, store, split.validation, scored, skip_silence)
        test_loss, test, together = figures(model, store, split.test, scored, skip_silence)
        found.append(
            {"system": settings.system, "segments": name, "validation loss": loss, "validation, %": validation} |
            {"test loss": test_loss, "test, %": test, "self-ensemble, %": together}
        )  # fmt: skip
    keras.utils.clear_session(free_memory=True)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    args = parser.parse_args()
    every = pd.DataFrame([row for path in args.runs for row in rows(path)])
    found = every.groupby(["system", "segments"], sort=False).mean().reset_index()
    print(found.to_markdown(index=False, floatfmt=("", "", ".3f", ".1f", ".3f", ".2f", ".2f")))


if __name__ == "__main__":
    main()
