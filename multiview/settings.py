"""Presets, and the settings of one run: everything that decides what a training run does."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

from multiview.errors import InputError
from multiview.names import SYSTEMS
from multiview.splits import protocol
from multiview.store import Store

DECAY = 0.8  # of the learning rate ...
MILESTONES = (0.1, 0.2, 0.3)  # ... after these shares of the epochs (Sec. 3.1.3)
MAX_SEED = 10**6
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# What the weights follow. Only the first is the paper's proposal.
BLENDINGS = {
    "paper": "Algorithm 1: gains over the best smoothed losses so far",
    "fixed_references": "gains over the losses of evaluation 0, as in the paper's [17, 18]",
    "uniform": "1/K for every branch, throughout",
    "averaged": "not in the paper: the weights of Algorithm 1 averaged over the last W evaluations",
}


@dataclass(frozen=True)
class Preset:
    """What a run takes from its preset unless the user says otherwise.

    `width` is a factor on the widths of Tables 1 and 2, `sample_rate` in Hz and `epochs` are the
    dataset's own where None, and `window` is W of Algorithm 1 in evaluations.
    """

    width: float
    sample_rate: int | None
    epochs: int | None
    batch_size: int
    learning_rate: float
    warm_up_learning_rate: float
    warm_up_epochs: int
    window: int


PRESETS = {
    "paper": Preset(
        width=1.0,
        sample_rate=None,
        epochs=None,
        batch_size=64,
        learning_rate=2e-4,
        warm_up_learning_rate=2e-5,
        warm_up_epochs=10,
        window=20,
    ),
    # For a laptop: a quarter of every width, and few epochs at a higher rate.
    "small": Preset(
        width=1 / 4,
        sample_rate=22050,
        epochs=60,
        batch_size=32,
        learning_rate=1e-3,
        warm_up_learning_rate=1e-4,
        warm_up_epochs=2,
        window=10,
    ),
    # For the demo dataset: minutes, with weights that move within its few epochs.
    "demo": Preset(
        width=1 / 16,
        sample_rate=22050,
        epochs=14,
        batch_size=16,
        learning_rate=2e-3,
        warm_up_learning_rate=1e-3,
        warm_up_epochs=1,
        window=5,
    ),
}


@dataclass(frozen=True)
class Settings(Preset):
    """Settings of one run. Equal settings on the same store mean the same run."""

    system: str
    fold: int
    preset: str
    seed: int = 0
    evaluation_interval: int | None = None  # in steps; an epoch where None
    precision: str = "float32"
    blending: str = "paper"  # one of BLENDINGS

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 1."""
        if epoch <= self.warm_up_epochs:
            return self.warm_up_learning_rate
        return self.learning_rate * DECAY ** sum(epoch > share * self.epochs for share in MILESTONES)

    @property
    def dtype_policy(self) -> str:
        """Keras's name of the precision."""
        return PRECISIONS[self.precision]


def make_settings(store: Store, system: str, fold: int, preset: str, **changes) -> Settings:
    """Settings of a run: the preset, what the dataset's protocol leaves open in it, and `changes`.

    Parameters
    ----------
    changes
        Fields of `Settings`; those that are None are left to the preset.

    Raises
    ------
    InputError
        For an unknown system or preset, a store of another sample rate than the preset's, or a value
        out of range.
    """
    for what, name, known in (("system", system, SYSTEMS), ("preset", preset, PRESETS)):
        if name not in known:
            raise InputError(f"expected a {what} of {', '.join(known)}; found {name!r}")
    chosen = PRESETS[preset]
    settings = Settings(system=system, fold=fold, preset=preset, **asdict(chosen))
    settings = replace(
        settings,
        sample_rate=chosen.sample_rate or store.sample_rate,
        epochs=chosen.epochs or protocol(store.dataset).epochs,
    )
    settings = replace(settings, **{key: value for key, value in changes.items() if value is not None})
    for field in ("epochs", "batch_size", "learning_rate", "window", "evaluation_interval"):
        value = getattr(settings, field)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"expected --{field.replace('_', '-')} above 0, found {value}")
    if not 0 <= settings.seed < MAX_SEED:
        raise InputError(f"expected --seed from 0 to {MAX_SEED - 1}, found {settings.seed}")
    if settings.sample_rate != store.sample_rate:
        raise InputError(
            f"preset {preset} expects a store at {settings.sample_rate} Hz, {store.path} is at "
            f"{store.sample_rate} Hz; prepare one with --sample-rate {settings.sample_rate}"
        )
    return settings
