"""What turns a view into its embedding: the registry of networks for one view."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
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
    `together`, where there is one, takes tensors by view instead, and gives embeddings by view: for networks that
    share work between views. `checkpointed` is the same without keeping activations for the gradient.
    """

    name: str
    text: str
    build: Callable[[Any, str, int, Callable[[int], int]], Any]
    together: Callable[[Mapping[str, Any], int, Callable[[int], int]], dict[str, Any]] | None = None
    checkpointed: Callable[[Mapping[str, Any], int, Callable[[int], int]], dict[str, Any]] | None = None

    def embed(
        self, inputs: Mapping[str, Any], sample_rate: int, wide: Callable[[int], int], checkpointing: bool = False
    ) -> dict[str, Any]:
        """The embeddings of all views that have this backbone.

        Raises
        ------
        InputError
            If it cannot do without its activations.
        """
        if checkpointing and not self.checkpointed:
            able = ", ".join(name for name, each in BACKBONES.items() if each.checkpointed)
            raise InputError(f"expected --gradient-checkpointing with a backbone of {able}, found {self.name}; drop it")
        if together := self.checkpointed if checkpointing else self.together:
            return together(inputs, sample_rate, wide)
        return {view: self.build(x, view, sample_rate, wide) for view, x in inputs.items()}


BACKBONES: Registry[Backbone] = Registry("backbone")


def _crnns(
    inputs: Mapping[str, Any], sample_rate: int, wide: Callable[[int], int], checkpointing: bool = False
) -> dict[str, Any]:
    from multiview.crnn import crnns  # with Keras, which naming a backbone does not need

    return crnns(inputs, sample_rate, wide, checkpointing)


def _crnn(x: Any, view: str, sample_rate: int, wide: Callable[[int], int]) -> Any:
    return _crnns({view: x}, sample_rate, wide)[view]


DEFAULT = BACKBONES.register(
    Backbone("crnn", "the paper's CRNN, Tables 1 and 2", _crnn, _crnns, functools.partial(_crnns, checkpointing=True))
).name


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
