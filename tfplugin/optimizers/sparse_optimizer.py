"""The base class of the optimizers for embedding tables."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import indexed_slices
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import saved_states
from tfplugin.optimizers import state_creation
from tfplugin.optimizers import table_state


class SparseOptimizer(keras.optimizers.Optimizer):
    """Optimizer whose step costs what the touched rows cost.

    A gradient that is an IndexedSlices takes the path: sum duplicates once,
    gather the state of the touched rows, apply the rule, scatter. Rows that the
    batch did not touch are neither read nor written. A dense gradient takes the
    same rule over all rows, so one optimizer may serve a whole model; to give
    tables and dense layers optimizers of their own, see `split`.

    State is float32 for tables of a smaller float (bfloat16, float16), else of
    the variable's dtype; the rule computes in the state's dtype. A NaN gradient
    makes its row NaN, as in Keras. A subclass defines `state_specs` and
    `compute_update`.

    Args:
        learning_rate: Float, `keras.optimizers.schedules.LearningRateSchedule`
            or callable without arguments.
        row_rate: `RowRate`: a factor on the rate for each row of every variable
            with two axes or more. Defaults to None, the same rate for all rows.
        name: Name of the optimizer. Defaults to the class's.
        **base_options: Other options of Keras's base class; refused unless
            they are off.

    Raises:
        ValueError: If an option is set that would sweep a table, or cannot work
            with sparse gradients.
        TypeError: If an argument is unknown or `row_rate` is not a `RowRate`.

    Example:
    >>> from tfplugin import optimizers
    >>> table = keras.Variable(np.ones((4, 2), "float32"))
    >>> optimizer = optimizers.SparseSGD(0.5)
    >>> gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([3, 3]))
    >>> optimizer.apply([gradient], [table])
    >>> table.numpy()[:, 0].tolist()
    [1.0, 1.0, 1.0, 0.0]
    """

    # Whether `compute_update` wants the table's own step; see `reset_state`.
    uses_step: bool = False

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        row_rate: row_rates.RowRate | None = None,
        name: str | None = None,
        **base_options: Any,
    ) -> None:
        constructor_checks.refuse_base_options(base_options)
        if row_rate is not None and not isinstance(row_rate, row_rates.RowRate):
            raise TypeError(
                "`row_rate` must be a RowRate or None. "
                f"Received: row_rate={row_rate!r}"
            )
        super().__init__(learning_rate=learning_rate, name=name)
        self.row_rate = row_rate
        self._states = table_state.TableStates()

    def state_specs(self) -> tuple[table_state.StateSpec, ...]:
        """Returns the states of the rule; a subclass overrides this."""
        raise NotImplementedError(
            f"{type(self).__name__} must override `state_specs`."
        )

    def compute_update(
        self,
        gradient: tf.Tensor,
        states: tuple[tf.Tensor, ...],
        rate: tf.Tensor,
        step: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Applies the rule; a subclass overrides this with one call.

        Args:
            gradient: `(n, dim)`, distinct rows.
            states: In the order of `state_specs`, `(n, dim)` or `(n, 1)`.
            rate: Scalar or `(n, 1)`.
            step: Scalar, from 1; None unless `uses_step`.

        Returns:
            `(delta, new_states)`; the caller subtracts `delta`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override `compute_update`."
        )

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the state of the variables; Keras calls it once.

        Args:
            variables: The variables this optimizer will update.
        """
        if self.built:
            return
        # Creation writes in blocks, which a graph under construction cannot.
        with tf.init_scope():
            super().build(list(variables))
            for index, variable in enumerate(variables):
                state = state_creation.create_state(self, variable)
                self._states.by_index[index] = state
                self._states.variables.append(variable)
            waiting = self._states.waiting_counts
            self._states.waiting_counts = []
            for table, counts, num_special_rows in waiting:
                self.set_row_counts(table, counts, num_special_rows)

    def update_step(
        self,
        gradient: tf.Tensor | tf.IndexedSlices,
        variable: tf.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Updates one variable; Keras calls it for each.

        Args:
            gradient: Tensor or IndexedSlices.
            variable: The variable to update.
            learning_rate: Scalar, the rate of this step.

        Raises:
            ValueError: If the row rate needs counts and none were set.
        """
        if isinstance(variable, keras.Variable):
            variable = variable.value
        state = self._states.by_index[self._get_variable_index(variable)]
        rows = None
        if isinstance(gradient, tf.IndexedSlices):
            rows, gradient = indexed_slices.sum_duplicates(
                gradient, state.dtype
            )
        gradient = tf.cast(gradient, state.dtype)
        rate = tf.cast(learning_rate, state.dtype)
        if self.row_rate is not None and len(variable.shape) >= 2:
            factors = self._factors(self.row_rate, state, rows, variable)
            ones = [1] * (len(variable.shape) - 1)
            factors = tf.reshape(factors, [-1, *ones])
            rate = rate * tf.cast(factors, rate.dtype)
        self._update_rows(variable, state, rows, gradient, rate)

    def _update_rows(
        self,
        variable: tf.Variable,
        state: table_state.TableState,
        rows: tf.Tensor | None,
        gradient: tf.Tensor,
        rate: tf.Tensor,
    ) -> None:
        """Gather, rule, scatter: the body a fused kernel may replace."""
        step = state.next_step()
        states = tuple(slot.read(rows) for slot in state.slots)
        delta, new_states = self.compute_update(gradient, states, rate, step)
        for slot, new_state in zip(state.slots, new_states, strict=True):
            slot.write(rows, new_state)
        delta = tf.cast(delta, variable.dtype)
        if rows is None:
            variable.assign_sub(delta)
        else:
            variable.scatter_sub(tf.IndexedSlices(delta, rows))

    def set_row_counts(
        self,
        variable: keras.Variable,
        counts: np.ndarray,
        num_special_rows: int = 0,
    ) -> None:
        """Tells how often each row of a table occurs in the training data.

        The counts become state of the optimizer: checkpoints, `.keras` and
        `.weights.h5` files carry them. Before the optimizer is built they wait
        in memory for `build`. Calling again replaces them.

        Args:
            variable: The table, `(rows, dim)`.
            counts: Numbers `(rows,)`, finite and not negative; kept as float32.
            num_special_rows: That many rows at the start (missing, out of
                vocabulary) are left out of the maximum and have the rate
                `row_rate.special_rate`.

        Raises:
            ValueError: If the row rate reads no counts, the counts do not fit,
                or the optimizer does not update the variable.

        Example:
        >>> from tfplugin import optimizers
        >>> table = keras.Variable(np.zeros((3, 2), "float32"))
        >>> optimizer = optimizers.SparseSGD(
        ...     1.0, row_rate=optimizers.LogFrequency()
        ... )
        >>> optimizer.set_row_counts(table, [0, 9, 99])
        >>> gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([1, 2]))
        >>> optimizer.apply([gradient], [table])
        >>> table.numpy()[:, 0].round(4).tolist()
        [0.0, -0.5, -1.0]
        """
        if self.row_rate is None or not self.row_rate.needs_counts:
            raise ValueError(
                "Row counts need a row rate that reads them. Received: "
                f"row_rate={self.row_rate!r}. Construct the optimizer with "
                "row_rate=LogFrequency(), for example."
            )
        if len(variable.shape) < 2:
            raise ValueError(
                "Row counts need a variable with rows, of two axes or more. "
                f"Received: variable.shape={tuple(variable.shape)}"
            )
        counts = table_state.check_counts(
            counts, int(variable.shape[0]), num_special_rows
        )
        if not self.built:
            waiting = (variable, counts, num_special_rows)
            self._states.waiting_counts.append(waiting)
            return
        row_counts = self._state_of(variable).row_counts
        if row_counts is not None:
            row_counts.set(counts, num_special_rows)

    def reset_state(self, variable: keras.Variable) -> None:
        """Forgets what was learned about one variable, block by block.

        Slots go back to their initial values and the step that a bias
        correction reads to 0; `iterations`, which schedules read, the row
        counts and the variable itself stay.

        Args:
            variable: A variable this optimizer updates.

        Raises:
            ValueError: If the optimizer is not built or does not update the
                variable.

        Example:
        >>> from tfplugin import optimizers
        >>> table = keras.Variable(np.zeros((2, 1), "float32"))
        >>> optimizer = optimizers.SparseAdagrad(0.1)
        >>> optimizer.apply([tf.ones((2, 1))], [table])
        >>> optimizer.reset_state(table)
        >>> optimizer.variables[-1].numpy().tolist()
        [[0.0], [0.0]]
        """
        self._state_of(variable).reset()

    def state_bytes(self, variable: keras.Variable) -> int:
        """Returns the bytes kept about one variable: slots, step, counts.

        Args:
            variable: Any variable; 0 for one this optimizer does not update,
                such as a frozen table.

        Raises:
            ValueError: If the optimizer is not built.

        Example:
        >>> from tfplugin import optimizers
        >>> table = keras.Variable(np.zeros((100, 8), "float32"))
        >>> optimizer = optimizers.RowwiseAdagrad(0.1)
        >>> optimizer.build([table])
        >>> optimizer.state_bytes(table)
        400
        """
        if self.built and not self._updates(variable):
            return 0
        return self._state_of(variable).num_bytes()

    def save_own_variables(self, store: Any) -> None:
        """Saves all `variables`, and which are not of a frozen table.

        Args:
            store: Keras's store of arrays.
        """
        super().save_own_variables(store)
        saved_states.save_kept(self._states, self.variables, store)

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved, with or without the frozen.

        A loaded model builds its optimizer without the tables that were frozen
        when it was saved; their states stay in the file.

        Args:
            store: Keras's store of arrays.
        """
        super().load_own_variables(
            saved_states.select(store, len(self.variables))
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = super().get_config()
        return {
            "learning_rate": config["learning_rate"],
            "row_rate": keras.saving.serialize_keras_object(self.row_rate),
            "name": config["name"],
        }

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: dict[str, Any] | None = None,
    ) -> "SparseOptimizer":
        """Returns an optimizer with the arguments `get_config` gave."""
        config = dict(config)
        if isinstance(config.get("row_rate"), dict):
            config["row_rate"] = keras.saving.deserialize_keras_object(
                config["row_rate"], custom_objects=custom_objects
            )
        return super().from_config(config, custom_objects=custom_objects)

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

    def _factors(
        self,
        row_rate: row_rates.RowRate,
        state: table_state.TableState,
        rows: tf.Tensor | None,
        variable: tf.Variable,
    ) -> tf.Tensor:
        if state.row_counts is not None:
            if not state.row_counts.is_set():
                raise ValueError(
                    f"{type(row_rate).__name__} needs the row counts of every "
                    f"table. Received: none for {variable.name} of shape "
                    f"{tuple(variable.shape)}. Call `set_row_counts(variable, "
                    "counts)` before training, and keep dense layers out of "
                    "this optimizer with `optimizers.split`."
                )
            return state.row_counts.factors(rows, row_rate)
        num_rows = variable.shape[0] if rows is None else tf.size(rows)
        return row_rate(tf.zeros([num_rows]), tf.constant(0.0))
