"""Presets, and the settings of one run: everything that decides what a training run does."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from multiview import augment, backbones, blending, origin
from multiview.origin import Origin
from multiview.splits import make_split
from multiview.store import Store
from multiview.support import records
from multiview.support.errors import InputError, UsageError, usage
from multiview.support.registry import Registry
from multiview.systems import System, chosen_views, find_system
from multiview.views import SAMPLE_RATES, sounding_view

DECAY = 0.8  # of the learning rate ...
MILESTONES = (0.1, 0.2, 0.3)  # ... after these shares of the epochs (Sec. 3.1.3)
MAX_SEED = 10**6
KEEP = {
    "first_best": "best validation accuracy, the first of equals",
    "last_best": "best validation accuracy, the last of equals",
    "loss": "lowest validation loss, averaged over W evaluations",
    "end": "the network at the end",
}
SCHEDULES = {
    "steps": "Sec. 3.1.3: multiplied by 0.8 after 0.1, 0.2 and 0.3 of the epochs",
    "cosine": "falling to 0 along half a cosine",
}
ORIGINS = {
    "init": Origin.of_model,
    "pretrained": Origin.of_weights,
}  # fields of Settings, and what makes them of a path
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclass(frozen=True)
class Preset:
    """What a run takes from its preset unless the user says otherwise; `text` says what it is for.

    `width` is a factor on the widths of Tables 1 and 2, `sample_rate` in Hz and `epochs` are the
    dataset's own where None, and `window` is W of Algorithm 1 in evaluations. `keep` is one of KEEP, `schedule` one
    of SCHEDULES, `averaging` the decay of the exponential average of the weights that is evaluated and kept, and
    `joint_gradient` whether the joint branch trains the views' networks, `skip_silence` whether all classes are
    alike of segments without sound, which are left out of means. `least_steps` and `least_clips` are the
    training steps, and the training clips of the rarest class, of the smallest task that the preset was made for, which
    `made_for` names; 0 where there is none. With `stretch` training takes as many epochs as make `least_steps`, in
    whole evaluations, where `epochs` do not. Evaluations are `evaluation_epochs` apart, or the next fewer that divide
    the epochs.
    """

    name: str
    text: str
    width: float
    sample_rate: int | None
    epochs: int | None
    batch_size: int
    learning_rate: float
    warm_up_learning_rate: float
    warm_up_epochs: int
    window: int
    evaluation_epochs: int = 1
    keep: str = "last_best"
    schedule: str = "steps"
    averaging: float | None = None
    joint_gradient: bool = True
    skip_silence: bool = False
    blending: str = blending.PAPER.name
    augmentations: str | None = None
    stretch: bool = False
    least_steps: int = 0
    least_clips: int = 0
    made_for: str = ""


PRESETS: Registry[Preset] = Registry("preset")
PRESETS.register(
    Preset(
        name="paper",
        text="the paper's network and schedule",
        width=1.0,
        sample_rate=None,
        epochs=None,
        batch_size=64,
        learning_rate=2e-4,
        warm_up_learning_rate=2e-5,
        warm_up_epochs=10,
        window=20,
        least_steps=19_500,
        least_clips=23,
        made_for="the paper's datasets: GTZAN has the fewest steps, ESC-50 the fewest clips a class",
    )
)
# For a laptop: a quarter of every width, and few epochs at a higher rate.
PRESETS.register(
    Preset(
        name="small",
        text="a quarter of every width, 22.05 kHz, few epochs at a higher rate",
        width=1 / 4,
        sample_rate=22050,
        epochs=60,
        batch_size=32,
        learning_rate=1e-3,
        warm_up_learning_rate=1e-4,
        warm_up_epochs=2,
        window=10,
        least_steps=540,
        least_clips=23,
        made_for="ESC-10",
    )
)
# `small` with what helps where clips are few: chosen on validation clips, results/README.md.
PRESETS.register(
    Preset(
        name="modern",
        text="the network of small with today's recipe: mixed clips, averaged weights, more steps",
        width=1 / 4,
        sample_rate=22050,
        epochs=100,
        batch_size=32,
        learning_rate=1e-3,
        warm_up_learning_rate=1e-4,
        warm_up_epochs=2,
        window=10,
        evaluation_epochs=5,
        keep="end",
        schedule="cosine",
        averaging=0.99,
        skip_silence=True,
        blending="uniform",
        augmentations="mix,gain,masks",
        stretch=True,
        least_steps=2400,
        least_clips=23,
        made_for="ESC-10",
    )
)
# For the demo dataset: minutes, with weights that move within its few epochs.
PRESETS.register(
    Preset(
        name="demo",
        text="a sixteenth of every width, 22.05 kHz, minutes",
        width=1 / 16,
        sample_rate=22050,
        epochs=14,
        batch_size=16,
        learning_rate=2e-3,
        warm_up_learning_rate=1e-3,
        warm_up_epochs=1,
        window=5,
        least_steps=126,
        least_clips=24,
        made_for="the demo's synthesised sounds",
    )
)


@dataclass(frozen=True)
class Settings:
    """Settings of one run. Equal settings on the same store mean the same run.

    The first fields are those of `Preset`. Defaults are what runs did before they recorded a field.
    """

    width: float
    sample_rate: int
    epochs: int
    batch_size: int
    learning_rate: float
    warm_up_learning_rate: float
    warm_up_epochs: int
    window: int
    system: str
    fold: int
    preset: str
    seed: int = 0
    evaluation_interval: int | None = None  # in steps; evaluation_epochs where None
    evaluation_epochs: int = 1
    precision: str = "float32"
    blending: str = blending.PAPER.name
    keep: str = "first_best"
    schedule: str = "steps"
    averaging: float | None = None
    joint_gradient: bool = True
    view_dropout: float = 0.0  # of a system on several
    skip_silence: bool = False
    views: str | None = None  # of a system on several, a list; the paper's four where None
    backbone: str | None = None  # NAME or VIEW=NAME,...; the paper's where None
    augmentations: str | None = None  # a list
    gradient_checkpointing: bool = False
    init: Origin | None = None  # a trained network whose networks of views this one starts with
    pretrained: Origin | None = None  # weights that backbones start with
    freeze_epochs: int = 0  # during which what comes from either stays as it is

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 1."""
        if epoch <= self.warm_up_epochs:
            return self.warm_up_learning_rate
        if self.schedule == "cosine":
            done = (epoch - self.warm_up_epochs - 1) / max(1, self.epochs - self.warm_up_epochs)
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * DECAY ** sum(epoch > share * self.epochs for share in MILESTONES)

    @property
    def dtype_policy(self) -> str:
        """Keras's name of the precision."""
        return PRECISIONS[self.precision]

    def resolve(self) -> System:
        """The system with its views and branches."""
        return find_system(self.system, self.views.split(",") if self.views else None)

    def names(self) -> dict[str, list[str]]:
        """What the run takes from each registry, by kind."""
        views = self.resolve().views
        return {
            "view": list(views),
            "blending": [self.blending],
            "backbone": sorted(set(backbones.choose(self.backbone, views).values())),
            "augmentation": [each.name for each in augment.choose(self.augmentations)],
        }


def _record() -> records.Check:
    """What a recorded field has to be, by its annotation; those without a default have always been recorded."""
    kinds = {
        "float": records.number(high=sys.float_info.max),  # as the options take
        "int": records.whole(high=2**31 - 1),
        "str": records.word,
        "bool": records.flag,
        "Origin": origin.RECORD,
    }
    known = {
        **dict.fromkeys(("epochs", "batch_size", "window", "evaluation_epochs"), records.whole(1, 2**31 - 1)),
        "sample_rate": records.one_of(SAMPLE_RATES),
        "seed": records.whole(high=MAX_SEED - 1),
        **dict.fromkeys(("averaging", "view_dropout"), records.number(high=1)),
        "keep": records.one_of(KEEP),
        "schedule": records.one_of(SCHEDULES),
        "precision": records.one_of(PRECISIONS),
    }
    checks = {}
    for field in fields(Settings):
        kind, _, null = str(field.type).partition(" | ")
        check = known.get(field.name, kinds[kind])
        checks[field.name] = records.maybe(check) if null else check
    younger = {field.name for field in fields(Settings) if field.default is not MISSING}
    return records.fields(
        {name: check for name, check in checks.items() if name not in younger},
        {name: check for name, check in checks.items() if name in younger},
    )


RECORD = _record()


def from_record(recorded: Mapping[str, Any]) -> Settings:
    """The settings that a run recorded; those that are younger than the record have their defaults."""
    known = {field.name for field in fields(Settings)}
    found = {name: value for name, value in recorded.items() if name in known}
    return Settings(**{**found, **{name: Origin.of_record(recorded.get(name)) for name in ORIGINS}})


def of_one_branch(settings: Settings) -> Settings:
    """As the preset has it, what does nothing where there is one branch, which has all the weight."""
    try:
        several = len(settings.resolve().branches) > 1
    except InputError:  # of a plugin that is not loaded
        return settings
    if several or settings.preset not in PRESETS:
        return settings
    preset = PRESETS[settings.preset]
    window = settings.window if settings.keep == "loss" else preset.window
    return replace(settings, joint_gradient=True, blending=preset.blending, window=window)


def make_settings(store: Store, system: str, fold: int, preset: str, **changes) -> Settings:
    """Settings of a run: the preset, what the dataset's protocol leaves open in it, and `changes`.

    Parameters
    ----------
    changes
        Fields of `Settings`; those that are None are left to the preset.

    Raises
    ------
    InputError
        For an unknown name, a store of another sample rate than the preset's or without a view that is needed, a
        value out of range, or a trained network that is not there.
    """
    with usage():
        find_system(system)
        chosen = PRESETS.find(preset)
    taken = {field.name for field in fields(Settings)}
    defaults = {name: value for name, value in asdict(chosen).items() if name in taken}
    defaults |= {"sample_rate": chosen.sample_rate or store.sample_rate, "epochs": chosen.epochs or store.about.epochs}
    settings = Settings(system=system, fold=fold, preset=preset, **defaults)
    given = {key: value for key, value in changes.items() if value is not None}
    given |= {name: origin(given[name]) for name, origin in ORIGINS.items() if name in given}
    settings = replace(settings, **given)
    if not 0 <= settings.seed < MAX_SEED:
        raise UsageError(f"expected --seed from 0 to {MAX_SEED - 1}, found {settings.seed}")
    if chosen.stretch and changes.get("epochs") is None:
        steps = math.ceil(len(make_split(store, fold, settings.seed).train) / max(1, settings.batch_size))
        evaluations = math.ceil(chosen.least_steps / (steps * chosen.evaluation_epochs))
        settings = replace(settings, epochs=max(settings.epochs, evaluations * chosen.evaluation_epochs))
    with usage():
        settings = _checked(settings, changes)
    store.require(settings.resolve().views, f"system {system}")
    if settings.sample_rate != store.sample_rate:
        raise InputError(
            f"preset {preset} expects a store at {settings.sample_rate} Hz, {store.path} is at "
            f"{store.sample_rate} Hz; prepare one with --sample-rate {settings.sample_rate}"
        )
    return settings


def _checked(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Refuse what no store could be trained with; what does nothing is as if it had not been said."""
    # Words for nothing, where a preset has something: equal runs have equal records.
    augmentations = None if settings.augmentations in ("", augment.NONE) else settings.augmentations
    settings = replace(settings, averaging=settings.averaging or None, augmentations=augmentations)
    if settings.views is not None:
        views = chosen_views(settings.system, settings.views.split(","))
        settings = replace(settings, views=None if views is None else ",".join(views))
    for field in ("epochs", "batch_size", "learning_rate", "window", "evaluation_interval"):
        value = getattr(settings, field)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"expected --{field.replace('_', '-')} above 0, found {value}")
    if settings.freeze_epochs < 0 or settings.freeze_epochs and not (settings.init or settings.pretrained):
        raise InputError(
            f"expected --freeze-epochs from 0, with --init or --pretrained, found {settings.freeze_epochs} with "
            f"{settings.init or settings.pretrained or 'neither'}"
        )
    for name, known in (("keep", KEEP), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
        if getattr(settings, name) not in known:
            raise InputError(f"expected --{name} of {', '.join(known)}, found {getattr(settings, name)!r}")
    if settings.averaging is not None and not 0 <= settings.averaging < 1:
        raise InputError(f"expected --averaging from 0 to below 1, found {settings.averaging}")
    if not 0 <= settings.view_dropout < 1:
        raise InputError(f"expected --view-dropout from 0 to below 1, found {settings.view_dropout}")
    blending.BLENDINGS.find(settings.blending)
    # What does nothing is not recorded, either.
    if not settings.resolve().joint:
        settings = replace(settings, view_dropout=0.0)
    settings = of_one_branch(settings)
    if not sounding_view(settings.resolve().views):
        if changes.get("skip_silence"):
            raise InputError(
                f"expected --skip-silence with a view that declares silence, found {settings.system}; leave it out"
            )
        settings = replace(settings, skip_silence=False)
    if issubclass(blending.BLENDINGS[settings.blending].rule, blending.Uniform) and settings.keep != "loss":
        settings = replace(settings, window=PRESETS[settings.preset].window)
    every = next(n for n in range(settings.evaluation_epochs, 0, -1) if settings.epochs % n == 0)
    settings = replace(settings, evaluation_epochs=every)
    settings.names()  # refuses unknown ones
    augment.check(augment.choose(settings.augmentations), settings.resolve().views)
    if settings.pretrained:
        backbones.able(settings.backbone, settings.resolve().views)
    if settings.gradient_checkpointing:
        for name in backbones.choose(settings.backbone, settings.resolve().views).values():
            backbones.BACKBONES[name].check_checkpointing()
    return settings
