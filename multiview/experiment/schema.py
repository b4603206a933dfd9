"""What the JSON files of a run have to be."""

from __future__ import annotations

from typing import Any

from multiview import calibration, settings
from multiview.store import About
from multiview.support.records import fields, flag, listed, made_by, mapping, maybe, number, one_of, whole, word
from multiview.views import SAMPLE_RATES

HEARD = "heard"  # entry of `run.json`: the clips of the training, where the store cannot tell
STARTED_FROM = "started_from"  # entry: what `--init` named, as its own `run.json` says it
PEAK_MEMORY = "peak_memory_mib"  # entry: of the process that trained
HEARD_KNOWN = "heard_known"  # entry: whether all that it has heard could be told
VALIDATION_HEARD = "validation_heard"  # entry: how many of the validation clips that one was trained on
CONTINUED = "continued"  # entry: what took the training up where it was not what began it
STOPPED = "stopped"  # entry: the evaluation at which a callback ended the training

FRACTION = number(0, 1)
CLASSES = listed(word, least=1, once=True)
_LINK = {
    "settings": settings.RECORD,
    "store": fields(
        {"dataset": word, "sample_rate": one_of(SAMPLE_RATES), "fingerprint": word, "classes": CLASSES},
        {"path": word, "views": maybe(listed(word, once=True)), "about": made_by(About.of_record)},
    ),
}


def _started_from(found: Any, name: str) -> None:
    """The record of another run, which may have started from one, too."""
    fields(_LINK, _INHERITED)(found, name)


_INHERITED = {
    "commit": maybe(word),
    HEARD: maybe(listed(word)),
    STARTED_FROM: maybe(_started_from),
}
_MACHINE = fields(
    {},
    {
        "processor": word,
        "cores": maybe(whole()),
        "devices": listed(word),
        "gpus": listed(word),
        "backend": word,
        "shared_by": listed(word),
    },
)
TESTED = fields({"fold": whole(), "this": flag, "clips": whole(1), "accuracy": FRACTION})
RUN = fields(
    _LINK,
    {
        **_INHERITED,
        "plugins": mapping(mapping(listed(word))),
        "status": word,
        "reason": word,
        "started": word,
        "updated": word,
        "software": mapping(word),
        "machine": _MACHINE,
        CONTINUED: listed(
            fields({}, {"started": word, "commit": maybe(word), "software": mapping(word), "machine": _MACHINE})
        ),
        "parameters": whole(),
        VALIDATION_HEARD: whole(),
        HEARD_KNOWN: flag,
        "clips": fields({"train": whole(), "validation": whole()}, {"monitor": whole(), "test": whole()}),
        "kept": mapping(whole()),
        STOPPED: mapping(whole()),
        "calibration": maybe(calibration.RECORD),
        "training_seconds": number(),
        "checkpoint_seconds": number(),
        PEAK_MEMORY: whole(),
        "tested": listed(TESTED),
    },
)
METRICS = fields({"system": word, "dataset": word, "fold": whole(), "clips": whole(1), "accuracy": mapping(FRACTION)})
FAILURE = fields({"reason": word}, {"time": word})
