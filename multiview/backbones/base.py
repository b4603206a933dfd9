"""What turns a view into its embedding: the declaration of a network for one view, and their registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from multiview.support.errors import InputError, UsageError
from multiview.support.registry import Registry
from multiview.views import SAMPLE_RATES, VIEWS


@dataclass(frozen=True)
class Backbone:
    """A network for one view: its name, what it is in half a sentence, and its builder.

    `build` takes a Keras tensor, [batch, frames, bands, 1] or [batch, samples, 1] of a waveform, standardised where the
    view is; the view's name, with which its layers' names begin; the sample rate in Hz; and a function that gives the
    width of a layer in the preset for its width in the paper's network. It gives the embedding, [batch, dimensions].
    `together`, where there is one, takes tensors by view instead, and gives embeddings by view: for networks that
    share work between views. `checkpointed` is the same without keeping activations for the gradient. `images` and
    `waveforms` say which views it is for; images have at least `least` frames and bands. `pretrained`, where there is
    one, takes the trained model, a view's name and `imagenet` or a file, and puts the weights from there into that
    view's network.
    """

    name: str
    text: str
    build: Callable[[Any, str, int, Callable[[int], int]], Any]
    together: Callable[[Mapping[str, Any], int, Callable[[int], int]], dict[str, Any]] | None = None
    checkpointed: Callable[[Mapping[str, Any], int, Callable[[int], int]], dict[str, Any]] | None = None
    images: bool = True
    waveforms: bool = True
    least: int = 1
    pretrained: Callable[[Any, str, str], None] | None = None

    def takes(self, view: str) -> bool:
        """Whether it is for this view."""
        if VIEWS[view].bands is None:
            return self.waveforms
        return self.images and all(min(VIEWS[view].segment_shape(rate)) >= self.least for rate in SAMPLE_RATES)

    def check_checkpointing(self) -> None:
        """Raise a UsageError if it cannot do without its activations."""
        if not self.checkpointed:
            able = ", ".join(name for name, each in BACKBONES.items() if each.checkpointed)
            raise UsageError(f"expected --gradient-checkpointing with a backbone of {able}, found {self.name}; drop it")

    def embed(
        self, inputs: Mapping[str, Any], sample_rate: int, wide: Callable[[int], int], checkpointing: bool = False
    ) -> dict[str, Any]:
        """The embeddings of all views that have this backbone.

        Raises
        ------
        InputError
            If it cannot do without its activations.
        """
        if checkpointing:
            self.check_checkpointing()
        if together := self.checkpointed if checkpointing else self.together:
            return together(inputs, sample_rate, wide)
        return {view: self.build(x, view, sample_rate, wide) for view, x in inputs.items()}


BACKBONES: Registry[Backbone] = Registry("backbone")
DEFAULT = "crnn"  # the paper's


def parts(text: str, views: Iterable[str]) -> list[str]:
    """Those parts of `NAME` or `VIEW=NAME,...` that say something about any of the views."""
    views, found = set(views), []
    for part in text.split(","):
        view, equals, name = part.rpartition("=")
        about = {view} & views if equals else {each for each in views if BACKBONES.find(name).takes(each)}
        found += [part] if about else []
    return found


def choose(text: str | None, views: Iterable[str]) -> dict[str, str]:
    """Name of the backbone of each view, from `NAME` for all that it is for or `VIEW=NAME,...`; None is the paper's.

    Raises
    ------
    InputError
        For an unknown backbone, one that is for none of these views, or a view that is not trained.
    """
    chosen = dict.fromkeys(views, DEFAULT)
    for part in (text or DEFAULT).split(","):
        view, equals, name = part.rpartition("=")
        if equals and view not in chosen:
            where = "that is trained" if view in VIEWS else "there is"
            raise InputError(f"expected --backbone with a view {where}, of {','.join(chosen)}; found {part!r}")
        backbone, asked = BACKBONES.find(name), [view] if equals else list(chosen)
        fitting = {each: name for each in asked if backbone.takes(each)}
        if not fitting:
            able = ", ".join(other for other, each in BACKBONES.items() if each.takes(asked[0]))
            raise InputError(f"expected a backbone for {asked[0]} of {able}; found {name!r}")
        chosen |= fitting
    return chosen


def able(text: str | None, views: Iterable[str]) -> dict[str, Callable[[Any, str, str], None]]:
    """What loads trained weights, of the chosen backbones that can, by view.

    Raises
    ------
    InputError
        If none can.
    """
    if not (found := loaders(text, views)):
        there = ", ".join(name for name, each in BACKBONES.items() if each.pretrained)
        chosen = ", ".join(set(choose(text, views).values()))
        raise InputError(f"expected --pretrained with a --backbone of {there}, found {chosen}")
    return found


def loaders(text: str | None, views: Iterable[str]) -> dict[str, Callable[[Any, str, str], None]]:
    """The same, none where none can."""
    return {view: load for view, name in choose(text, views).items() if (load := BACKBONES[name].pretrained)}
