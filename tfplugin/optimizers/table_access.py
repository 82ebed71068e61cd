"""What others may do to one table of a sparse optimizer."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfplugin.optimizers import table_state


class TableAccess(keras.optimizers.Optimizer):
    """What `SparseOptimizer` lets others do to one table; not made by itself.

    Example:
    >>> from tfplugin import optimizers
    >>> isinstance(optimizers.SparseSGD(0.1), TableAccess)
    True
    """

    _states: table_state.TableStates

    def reset_state(self, variable: keras.Variable) -> None:
        """Forgets what was learned about one variable, block by block.

        Slots go back to their initial values and the steps that a bias
        correction reads to 0; `iterations`, which schedules read, the row
        counts and the variable itself stay.

        Args:
            variable: A variable this optimizer updates.

        Raises:
            ValueError: If the optimizer is not built or does not update the
                variable.

        Example:
        >>> from tfplugin import optimizers
        >>> table = keras.Variable(tf.zeros((2, 1)))
        >>> optimizer = optimizers.SparseAdagrad(0.1)
        >>> optimizer.apply([tf.ones((2, 1))], [table])
        >>> optimizer.reset_state(table)
        >>> optimizer.variables[-1].numpy().tolist()
        [[0.0], [0.0]]
        """
        self._state_of(variable).reset()

    def state_variables(self, variable: keras.Variable) -> list[Any]:
        """Returns what `reset_state` would set back: slots, then steps.

        Args:
            variable: A variable this optimizer updates.

        Returns:
            Variables: a slot is of the variable's shape or `(rows, 1)`, a step
            a scalar. Always in the same order.

        Raises:
            ValueError: If the optimizer is not built or does not update the
                variable.

        Example:
        >>> from tfplugin import optimizers
        >>> table = keras.Variable(tf.zeros((2, 3)))
        >>> optimizer = optimizers.RowwiseAdagrad(0.1)
        >>> optimizer.build([table])
        >>> [tuple(v.shape) for v in optimizer.state_variables(table)]
        [(2, 1)]
        """
        return self._state_of(variable).learned()

    def gate_updates(
        self, variable: keras.Variable, gate: tf.Variable | None
    ) -> tf.Variable | None:
        """Lets a switch decide, step by step, whether a variable is updated.

        While the switch is off, a step leaves the variable, its slots, steps
        and row counts as they are, bit for bit, decay included, and does none
        of their work. Only `clip_global_norm` still sees the gradient. The
        switch is no state of the optimizer: nobody saves it here. A step that
        was traced before knows nothing of it: call
        `model.make_train_function(force=True)`.

        Args:
            variable: A variable this optimizer updates.
            gate: Bool scalar; True for updates. None takes the switch away.

        Returns:
            The switch that decided before; None if there was none.

        Raises:
            ValueError: If `gate` is not a bool scalar, or the optimizer is not
                built or does not update the variable.

        Example:
        >>> from tfplugin import optimizers
        >>> table = keras.Variable(tf.zeros((1, 1)))
        >>> optimizer = optimizers.SparseSGD(0.5)
        >>> optimizer.build([table])
        >>> gate = tf.Variable(False)
        >>> optimizer.gate_updates(table, gate) is None
        True
        >>> optimizer.apply([tf.ones((1, 1))], [table])
        >>> _ = gate.assign(True)
        >>> optimizer.apply([tf.ones((1, 1))], [table])
        >>> table.numpy().tolist()
        [[-0.5]]
        """
        self._state_of(variable)
        if gate is not None and (gate.dtype != tf.bool or gate.shape.rank != 0):
            raise ValueError(
                "`gate` must be a bool scalar variable. Received: gate of "
                f"{gate.dtype.name} and shape {tuple(gate.shape)}."
            )
        index = self._get_variable_index(variable)
        before = self._states.gates.get(index)
        self._states.gates[index] = gate
        return before

    def state_bytes(self, variable: keras.Variable) -> int:
        """Returns the bytes kept about one variable: slots, step, counts.

        Args:
            variable: Any variable; 0 for one this optimizer does not update,
                such as a frozen table.

        Raises:
            ValueError: If the optimizer is not built.

        Example:
        >>> from tfplugin import optimizers
        >>> table = keras.Variable(tf.zeros((100, 8)))
        >>> optimizer = optimizers.RowwiseAdagrad(0.1)
        >>> optimizer.build([table])
        >>> optimizer.state_bytes(table)
        400
        """
        if self.built and not self._updates(variable):
            return 0
        return self._state_of(variable).num_bytes()

    def _run_gated(
        self, variable: tf.Variable, update: Callable[[], None]
    ) -> None:
        """Calls `update` unless the variable's switch is off."""
        gate = self._states.gates.get(self._get_variable_index(variable))
        if gate is None:
            update()
            return

        def updated() -> tf.Tensor:
            update()
            return tf.constant(True)

        tf.cond(gate, updated, lambda: tf.constant(False))

    def _updates(self, variable: keras.Variable) -> bool:
        try:
            self._get_variable_index(variable)
        except KeyError:
            return False
        return True

    def _state_of(self, variable: keras.Variable) -> table_state.TableState:
        # `_get_variable_index` is how Keras's own guide to optimizers finds the
        # state of a variable, under distribution strategies too; tested.
        try:
            return self._states.by_index[self._get_variable_index(variable)]
        except KeyError as error:
            raise ValueError(
                "The optimizer must be built with the variable. Received: "
                f"variable={variable.name}, built={self.built}. Call "
                "`build(model.trainable_variables)` or train a step first."
            ) from error
