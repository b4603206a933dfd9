"""What turns a view into its embedding: the registry of networks for one view."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from multiview.support.errors import InputError
from multiview.support.registry import Registry
from multiview.views import VIEWS


@dataclass(frozen=True)
class Backbone:
    """A network for one view: its name, what it is in half a sentence, and its builder.

    `build` takes a Keras tensor, [batch, frames, bands, 1] or [batch, samples, 1] of a waveform, standardised where the
    view is; the view's name, with which its layers' names begin; the sample rate in Hz; and a function that gives the
    width of a layer in the preset for its width in the paper's network. It gives the embedding, [batch, dimensions].
    """

    name: str
    text: str
    build: Callable[[Any, str, int, Callable[[int], int]], Any]


BACKBONES: Registry[Backbone] = Registry("backbone")


def _crnn(x: Any, view: str, sample_rate: int, wide: Callable[[int], int]) -> Any:
    from multiview.crnn import crnn  # with Keras, which naming a backbone does not need

    return crnn(x, view, sample_rate, wide)


DEFAULT = BACKBONES.register(Backbone("crnn", "the paper's CRNN, Tables 1 and 2", _crnn)).name


def choose(text: str | None, views: Iterable[str]) -> dict[str, str]:
    """Name of the backbone of each view, from `NAME` for all or `VIEW=NAME,...` for some; None is the paper's.

    Raises
    ------
    InputError
        For an unknown backbone, or a view that is not trained.
    """
    chosen = dict.fromkeys(views, DEFAULT)
    for part in (text or DEFAULT).split(","):
        view, equals, name = part.rpartition("=")
        if equals and view not in chosen:
            where = "that is trained" if view in VIEWS else "there is"
            raise InputError(f"expected --backbone with a view {where}, of {','.join(chosen)}; found {part!r}")
        for each in [view] if equals else chosen:
            chosen[each] = BACKBONES.find(name).name
    return chosen
