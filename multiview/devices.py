"""One network on several devices: each takes its share of a batch, and what they find is put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import tree
from keras.distribution import TensorLayout, distribute_tensor, distribution


class Shares(keras.distribution.DataParallel):
    """Copies of the network on all devices, which are all given whole batches.

    Not Keras's, which hands out shares: those of all batches would have to be like those of the first, and the last
    batch of an epoch has other ones, or cannot be divided.
    """

    def __init__(self, devices: Sequence[Any]) -> None:
        super().__init__(devices=list(devices), auto_shard_dataset=False)

    def get_data_layout(self, data_shape: Sequence[int | None]) -> TensorLayout:
        """Whole."""
        return TensorLayout([None] * len(data_shape), self.device_mesh)


def divided(batch: Any) -> Any:
    """Leave each device its share of every tensor [batch, ...], where the batch can be divided by their number.

    Where it cannot, all of them compute all of it, which changes no sum or mean over the batch.
    """
    return _laid_out(batch, lambda size, count: size is not None and size % count == 0)


def whole(batch: Any) -> Any:
    """Give every device all of the tensors."""
    return _laid_out(batch, lambda size, count: False)


def _laid_out(batch: Any, shared: Any) -> Any:
    found = distribution()
    if not isinstance(found, Shares):
        return batch

    def lay_out(tensor: Any) -> Any:
        first = found.batch_dim_name if shared(tensor.shape[0], found.num_model_replicas) else None
        return distribute_tensor(tensor, TensorLayout([first, *[None] * (len(tensor.shape) - 1)], found.device_mesh))

    return tree.map_structure(lay_out, batch)


def gpu_models() -> list[str]:
    """What the GPUs that Keras computes on are called, NVIDIA H100 80GB HBM3, say."""
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        details = (tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU"))
        return [str(each.get("device_name", "GPU")) for each in details]
    return []
