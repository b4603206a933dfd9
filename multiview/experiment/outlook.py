"""What a training is about to do, and whether that is enough to learn from: said before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from multiview.settings import PRESETS, Preset, Settings
from multiview.splits import Split
from multiview.store import Store


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Outlook:
    """The size of a training.

    Parameters
    ----------
    name : str
        Of the training, for people.
    settings : Settings
        Of the run.
    sample_rate, own_epochs : int
        Of the store in Hz, and of its dataset's protocol: what presets leave open.
    train, validation, test : int
        Clips.
    rarest : tuple of str and int
        The class with the fewest training clips, and how many those are.
    classes : int
        How many there are.
    """

    name: str
    settings: Settings
    sample_rate: int
    own_epochs: int
    train: int
    validation: int
    test: int
    rarest: tuple[str, int]
    classes: int

    @classmethod
    def of(cls, name: str, store: Store, settings: Settings, split: Split) -> Outlook:
        """That of a run on a store."""
        counts = np.bincount(store.labels[split.train], minlength=len(store.classes))
        rarest = int(counts.argmin())
        return cls(
            name=name,
            settings=settings,
            sample_rate=store.sample_rate,
            own_epochs=store.about.epochs,
            train=len(split.train),
            validation=len(split.validation),
            test=len(split.test),
            rarest=(store.classes[rarest], int(counts[rarest])),
            classes=len(store.classes),
        )

    @property
    def steps_per_epoch(self) -> int:
        """Every training clip once."""
        return math.ceil(self.train / self.settings.batch_size)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.settings.epochs * self.steps_per_epoch

    def lines(self) -> list[str]:
        """What is coming, and what speaks against it with what to do."""
        epochs, each = self.settings.epochs, self.steps_per_epoch
        coming = (
            f"{self.name}: {_some(self.train, 'training clip')} of {self.classes} classes, {self.validation} for "
            f"validation, {self.test} for test; {_some(epochs, 'epoch')} of {_some(each, 'step')}: {self.steps} in all"
        )
        return [coming, *self.warnings()]

    def warnings(self) -> list[str]:
        """A line for each thing of which there is less than the preset was made for."""
        preset, found = PRESETS[self.settings.preset], []
        label, clips = self.rarest
        if self.steps < preset.least_steps:
            found.append(
                f"warning: {_some(self.steps, 'step')} in all: preset {preset.name} was made for {preset.least_steps} "
                f"or more ({preset.made_for}), and with fewer a network may not get beyond guessing; "
                f"{self._more_steps(preset)}"
            )
        if clips < preset.least_clips:
            found.append(
                f"warning: class {label} has {_some(clips, 'training clip')}: preset {preset.name} was made for "
                f"{preset.least_clips} or more a class ({preset.made_for}), and with fewer a network learns the clips "
                "by heart; record more, or leave out or merge the rarest classes"
            )
        return found

    def _more_steps(self, preset: Preset) -> str:
        """How to get as many steps as the preset was made for."""
        epochs = math.ceil(preset.least_steps / self.steps_per_epoch)
        longer = [name for name, other in PRESETS.items() if other != preset and self._suits(other)]
        others = f", or --preset {' or '.join(longer)}" if longer else ""
        return f"say --epochs {epochs}{others}, or record more"

    def _suits(self, other: Preset) -> bool:
        """Whether another preset takes more steps here, and as many as it was made for."""
        epochs = other.epochs or self.own_epochs
        steps = epochs * math.ceil(self.train / other.batch_size)
        steps = max(steps, other.least_steps if other.stretch else 0)
        return other.sample_rate in (None, self.sample_rate) and steps >= max(other.least_steps, self.steps + 1)
