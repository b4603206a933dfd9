"""Adam in one pass over each variable."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="multiview")
class Adam(keras.optimizers.Adam):
    """Keras's Adam: the same formula, variables and names.

    Not the plain one: Keras takes a dozen operations for each variable, which is half of all the operations of a step,
    to trace and to run. TensorFlow has one. Elsewhere the compiler joins them.
    """

    def finalize_variable_values(self, var_list: list) -> None:
        """Nothing: averages are a network of their own (`multiview.averaging`), and training may go on after `fit`."""

    def stateless_apply(self, optimizer_variables: list, grads: list, trainable_variables: list) -> tuple:
        """What JAX takes: Keras's, also where some variables are frozen.

        Not the plain one: Keras refuses that. Zeros stand for frozen ones and their gradients, and are dropped again.
        """
        trained = [each.trainable for each in self._trainable_variables]
        values, slopes = iter(trainable_variables), iter(grads)
        every = [
            (next(values), next(slopes)) if now else [ops.zeros(each.shape, each.dtype)] * 2
            for each, now in zip(self._trainable_variables, trained, strict=True)
        ]
        all_values, all_slopes = (list(each) for each in zip(*every, strict=True))
        updated, optimizer_variables = super().stateless_apply(optimizer_variables, all_slopes, all_values)
        return [each for each, now in zip(updated, trained, strict=True) if now], optimizer_variables

    def _update_model_variables_moving_average(self, trainable_variables: list) -> None:
        """Of those that are not frozen: the average of a constant is that, to the bit."""
        momentum = ops.where(ops.equal(self.iterations, 0), 0.0, self.ema_momentum)
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if variable.trainable:
                factor = ops.cast(momentum, variable.dtype)
                average.assign(factor * average + (1 - factor) * variable)

    def _backend_update_step(self, grads: list, trainable_variables: list, learning_rate: Any) -> None:
        """All updates of a step, for which the powers are taken once."""
        step = ops.cast(self.iterations + 1, "float32")
        self._powers = [ops.power(ops.cast(beta, "float32"), step) for beta in (self.beta_1, self.beta_2)]
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        del self._powers

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable and its moments."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad or variable.dtype != "float32":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
