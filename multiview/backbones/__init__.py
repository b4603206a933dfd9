"""What turns a view into its embedding: the paper's CRNN and other networks for one view.

Naming one does not need Keras, which their builders import.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from multiview.backbones.base import BACKBONES, DEFAULT, Backbone, able, choose, parts


def _crnns(inputs: Mapping[str, Any], sample_rate: int, wide: Callable[[int], int], **how: bool) -> dict[str, Any]:
    from multiview.crnn import crnns

    return crnns(inputs, sample_rate, wide, **how)


def _one(x: Any, view: str, sample_rate: int, wide: Callable[[int], int], **how: bool) -> Any:
    return _crnns({view: x}, sample_rate, wide, **how)[view]


def _register_crnn(name: str, text: str, **how: bool) -> None:
    together, checkpointed = (functools.partial(_crnns, **how, checkpointing=each) for each in (False, True))
    BACKBONES.register(Backbone(name, text, functools.partial(_one, **how), together, checkpointed))


def _strided(x: Any, view: str, sample_rate: int, wide: Callable[[int], int]) -> Any:
    from multiview.backbones.strided import strided

    return strided(x, view, sample_rate, wide)


def _image_network(application: str) -> dict[str, Callable]:
    """Builder and loader of a network of `keras.applications`."""

    def build(x: Any, view: str, *_: Any) -> Any:
        from multiview.backbones.images import image_network

        return image_network(application, x, view)

    def pretrained(model: Any, view: str, weights: str) -> None:
        from multiview.backbones.images import load_weights

        load_weights(application, model, view, weights)

    return {"build": build, "pretrained": pretrained}


_register_crnn(DEFAULT, "the paper's CRNN, Tables 1 and 2")
_register_crnn("separable", "the same with depthwise separable convolutions, a quarter of the work", separable=True)
BACKBONES.register(Backbone("strided", "1-D convolutions with strides alone, for raw", _strided, images=False))
for _name, _text, _application in (
    ("mobilenet", "MobileNetV3 small", "MobileNetV3Small"),
    ("efficientnet", "EfficientNetV2 B0", "EfficientNetV2B0"),
    ("resnet", "ResNet-50 V2", "ResNet50V2"),
):
    _text = f"{_text} on spectrograms, full width in any preset"
    BACKBONES.register(Backbone(_name, _text, **_image_network(_application), waveforms=False))

__all__ = ["BACKBONES", "DEFAULT", "Backbone", "able", "choose", "parts"]
