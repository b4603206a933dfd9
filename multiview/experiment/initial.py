"""The trained network that a run starts from: what is taken from it, and what it has heard."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from multiview.backbones import able
from multiview.experiment.heard import all_known, heard
from multiview.experiment.run import Run
from multiview.experiment.schema import HEARD, STARTED_FROM
from multiview.networks import BlendedModel
from multiview.settings import Settings
from multiview.splits import Split
from multiview.starters import located
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.transfer import statistics_of, take_over


@dataclass(frozen=True)
class Initial:
    """A trained run, its network, and those of its views that another run takes."""

    run: Run
    network: BlendedModel
    views: tuple[str, ...]
    validation_heard: int  # how many of the other run's validation clips were in the training of this one
    heard_known: bool  # whether all clips that it has heard could be told

    @classmethod
    def of(cls, settings: Settings, store: Store, split: Split) -> Initial | None:
        """That of `settings.init`; None where a run starts from nothing.

        Raises
        ------
        InputError
            If it has none of the views, or another sample rate, or has heard the test clips.
        """
        if settings.init is None:
            return None
        run, wanted = Run(located(settings.init.path)), settings.resolve().views
        recorded, own = run.read()["store"], run.system().views
        shared = tuple(view for view in wanted if view in own)
        if not shared or recorded["sample_rate"] != store.sample_rate:
            raise InputError(
                f"expected --init with a network on {' or '.join(wanted)} at {store.sample_rate} Hz, found one on "
                f"{', '.join(own)} at {recorded['sample_rate']} Hz; name another"
            )
        tested, validating = ({str(store.ids[row]) for row in rows} for rows in (split.test, split.validation))
        if known := [name for name in (heard(run, store) if tested else ()) if name in tested]:
            raise InputError(
                f"expected --init with a network that has not heard the test clips of fold {settings.fold}, found "
                f"{len(known)} of them in its training, {known[0]} first; train it on the same fold, or this one on all"
            )
        if new := [view for view in wanted if view not in own]:
            print(f"{settings.init.path} has no {', '.join(new)}: started anew", file=sys.stderr)
        if validation_heard := sum(name in validating for name in heard(run, store, ["train"])):
            print(
                f"{settings.init.path} was trained on {validation_heard} of the {len(validating)} validation clips: "
                "losses and accuracies on these, and what is chosen and calibrated by them, flatter the network",
                file=sys.stderr,
            )
        return cls(run, run.load_model(), shared, validation_heard, all_known(run, store))

    def statistics(self) -> dict:
        """Those of the views that are taken, with which their networks were trained."""
        return statistics_of(self.network, self.views)

    def credit(self, run: Run) -> None:
        """Leave the credits for what it was trained on, where it has some, with the run that starts from it."""
        if self.run.attribution.is_file():
            with replacing(run.attribution) as temporary:
                shutil.copyfile(self.run.attribution, temporary)

    def record(self) -> dict:
        """What `run.json` keeps of its own, which this run's network inherits."""
        record = self.run.read()
        store = {key: value for key, value in record["store"].items() if key != "path"}
        return {**{key: record.get(key) for key in ("settings", "commit", HEARD, STARTED_FROM)}, "store": store}


def start(model: BlendedModel, settings: Settings, initial: Initial | None) -> list[str]:
    """Give a network the weights that it starts with.

    Returns
    -------
    list of str
        The views whose networks have weights from elsewhere.

    Raises
    ------
    InputError
        If these do not fit.
    """
    taken = list(initial.views) if initial else []
    if initial:
        take_over(model, initial.network, taken)
    if settings.pretrained:
        for view, load in able(settings.backbone, settings.resolve().views).items():
            if view not in taken:
                load(model, view, settings.pretrained.path)
                taken.append(view)
    return taken
