"""The model card of an export: what the model was trained on, how well it did, and what it must not be used for."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path

import jinja2

from multiview.experiment.run import Run
from multiview.experiment.schema import STARTED_FROM
from multiview.guessing import Guessing, Share
from multiview.settings import KEEP, PRESETS, of_one_branch
from multiview.support.errors import InputError
from multiview.systems import label
from multiview.views import geometry

TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def tested_folds(run: Run) -> list[dict]:
    """Accuracy of this run, and of the runs beside it that tested the same network on other folds.

    Returns
    -------
    list of dict
        `fold`, `this`: whether it is the run's own, `clips`, and `accuracy` as a fraction, of the self-ensemble or the
        only branch. A run that is away from those beside it may have them recorded, as `tested`.
    """
    settings, record, own = _settings(run), run.read(), run.path.resolve()
    folds = list(record.get("tested", ()))
    of_fold = {"fold", *(("epochs", "evaluation_epochs") if _stretches(settings) else ())}
    for path in sorted({own, *own.parent.glob("fold*")}):
        other = Run(path)
        try:
            found, theirs, metrics = _settings(other), other.read(), other.read_metrics()
            fold, clips, scores = metrics["fold"], metrics["clips"], list(metrics["accuracy"].values())
        except (InputError, OSError):
            continue  # not finished, or damaged, which is no matter of this run
        if any(found.get(key) != value for key, value in settings.items() if key not in of_fold):
            continue
        if theirs["store"]["fingerprint"] == record["store"]["fingerprint"]:
            folds.append({"fold": fold, "this": path == own, "clips": clips, "accuracy": scores[-1]})
    return folds


def _settings(run: Run) -> dict:
    """What the run's settings do, however they were said."""
    return asdict(of_one_branch(run.settings()))


def _stretches(settings: dict) -> bool:
    """Whether how long a training is follows from how many clips it has."""
    return settings["preset"] in PRESETS and PRESETS[settings["preset"]].stretch


def _guessing(run: Run) -> Guessing | None:
    """What guessing gives on the test clips; None where there are no predictions."""
    try:
        tested = run.read_predictions()
    except InputError:
        return None
    return Guessing.of(tested.labels, len(tested.classes))


def _sources(record: dict) -> list[dict]:
    """What a network was started from, what that was, and so on: name, protocol and terms of their data."""
    found, link = [], record.get(STARTED_FROM)
    while link:
        found.append({**link["store"], "about": link["store"].get("about") or {}, "settings": link["settings"]})
        link = link.get(STARTED_FROM)
    return found


def model_card(run: Run, version: int, export: dict) -> str:
    """Text of `MODEL_CARD.md`.

    Parameters
    ----------
    run : Run
        What is exported.
    version : int
        Of the export.
    export : dict
        Content of `export.json`.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    record, system = run.read(), run.system()
    folds = [{**each, "share": Share.of(each["accuracy"], each["clips"])} for each in tested_folds(run)]
    guessing, size = _guessing(run), geometry(export["sample_rate"], export.get("store_views", ()))
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=label(system.name),
        version=version,
        system=system,
        settings=run.settings(),
        kept=KEEP[run.settings().keep],
        dataset=record["store"]["dataset"],
        about=run.about() if "about" in record["store"] else None,
        folds=folds,
        clips=record.get("clips"),
        sources=_sources(record),
        credits=run.attribution.name if run.attribution.is_file() else None,
        guessing=guessing,
        beats=guessing and any(row["share"].beats(guessing) for row in folds if row["this"]),
        export=export,
        shortest=size.segment_samples,
        seconds=size.segment_samples / size.sample_rate,
        record=record,
        machine=record.get("machine", {}),
        today=date.today().isoformat(),
    )
