"""What turns a view into its embedding: the paper's CRNN and other networks for one view.

Naming one does not need Keras, which their builders import.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from multiview.backbones.base import BACKBONES, DEFAULT, Backbone, able, choose, loaders, parts

SMALLEST_IMAGE = 32  # a side, for the networks of `keras.applications`


def _register_crnn(name: str, text: str, separable: bool) -> None:
    def crnns(checkpointing: bool, inputs: Mapping[str, Any], sample_rate: int, wide: Callable[[int], int]) -> dict:
        from multiview.crnn import crnns

        return crnns(inputs, sample_rate, wide, checkpointing, separable)

    def build(x: Any, view: str, sample_rate: int, wide: Callable[[int], int]) -> Any:
        return crnns(False, {view: x}, sample_rate, wide)[view]

    together, checkpointed = (functools.partial(crnns, each) for each in (False, True))
    BACKBONES.register(Backbone(name, text, build, together, checkpointed))


def _strided(x: Any, view: str, sample_rate: int, wide: Callable[[int], int]) -> Any:
    from multiview.backbones.strided import strided

    return strided(x, view, sample_rate, wide)


def _register_image_network(name: str, text: str, application: str) -> None:
    def build(x: Any, view: str, *_: Any) -> Any:
        from multiview.backbones.images import image_network

        return image_network(application, x, view)

    def pretrained(model: Any, view: str, weights: str) -> None:
        from multiview.backbones.images import load_weights

        load_weights(application, model, view, weights)

    text = f"{text} on spectrograms, full width in any preset"
    BACKBONES.register(Backbone(name, text, build, waveforms=False, least=SMALLEST_IMAGE, pretrained=pretrained))


_register_crnn(DEFAULT, "the paper's CRNN, Tables 1 and 2", separable=False)
_register_crnn("separable", "the same with depthwise separable convolutions, a quarter of the work", separable=True)
BACKBONES.register(Backbone("strided", "1-D convolutions with strides alone, for raw", _strided, images=False))
_register_image_network("mobilenet", "MobileNetV3 small", "MobileNetV3Small")
_register_image_network("efficientnet", "EfficientNetV2 B0", "EfficientNetV2B0")
_register_image_network("resnet", "ResNet-50 V2", "ResNet50V2")

__all__ = ["BACKBONES", "DEFAULT", "Backbone", "able", "choose", "loaders", "parts"]
