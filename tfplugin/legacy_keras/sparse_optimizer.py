"""The base class of the optimizers for embedding tables of tf_keras models."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import optimizer_parts
from tfplugin.optimizers import row_counts as row_counts_module
from tfplugin.optimizers import row_options
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import row_updates
from tfplugin.optimizers import rules
from tfplugin.optimizers import state_creation
from tfplugin.optimizers import table_state

_Pair = tuple[tf.Tensor | tf.IndexedSlices | None, tf.Variable]


class SparseOptimizer(tf_keras.optimizers.Optimizer):
    """Optimizer of tf_keras whose step costs what the touched rows cost.

    `tfplugin.optimizers.SparseOptimizer` for tf_keras (Keras 2): the same
    rules, row rates and options, which are documented there, on the same code.

    Args:
        rule: `tfplugin.optimizers.rules.Rule`. The subclasses `LazyAdam` and so
            on make theirs from constants.
        learning_rate: Float or a schedule of tf_keras.
        row_rate: `tfplugin.optimizers.RowRate`. Defaults to None, the same
            rate for all rows.
        online_counts: `tfplugin.optimizers.OnlineCounts`. Defaults to None.
        name: Name of the optimizer. Defaults to the class's.
        **options: What `RowOptions` takes, as in the optimizer of Keras 3, all
            off by default. Options of tf_keras's base class are refused unless
            they are off.

    Raises:
        ValueError: If an option is out of its range, would sweep a table or
            cannot work with sparse gradients.
        TypeError: If an argument is unknown or of the wrong class.

    Example:
    >>> table = tf.Variable(tf.ones((4, 2)))
    >>> optimizer = SparseOptimizer(rules.Sgd(), 0.5)
    >>> gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([3, 3]))
    >>> step = optimizer.apply_gradients([(gradient, table)])
    >>> table.numpy()[:, 0].tolist()
    [1.0, 1.0, 1.0, 0.0]
    """

    # The rule that a subclass makes from constants, which its config then has.
    rule_class: ClassVar[type[rules.Rule] | None] = None

    def __init__(
        self,
        rule: rules.Rule,
        learning_rate: float
        | tf_keras.optimizers.schedules.LearningRateSchedule,
        row_rate: row_rates.RowRate | None = None,
        online_counts: row_counts_module.OnlineCounts | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        _refuse_xla(options.pop("jit_compile", None))
        known = {
            field.name for field in dataclasses.fields(row_options.RowOptions)
        }
        own = {key: options.pop(key) for key in known & set(options)}
        constructor_checks.refuse_base_options(options)
        acting = row_options.RowOptions(**own)
        optimizer_parts.check(rule, row_rate, online_counts, acting)
        # Any number, even 0, would have tf_keras sweep every table, and XLA,
        # its default on a GPU, makes sparse gradients dense.
        super().__init__(
            name=name or type(self).__name__,
            weight_decay=None,
            jit_compile=False,
        )
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.rule = rule
        self.row_rate = row_rate
        self.online_counts = online_counts
        self.options = acting
        self._states = table_state.TableStates()

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates the state of the variables; tf_keras calls it every step.

        Args:
            var_list: The variables this optimizer will update.

        Raises:
            TypeError: If one is a variable of Keras 3.
        """
        if self._is_built():
            return
        for variable in var_list:
            if not isinstance(variable, tf.Variable):
                raise TypeError(
                    "Optimizers of `legacy_keras` update variables of tf_keras "
                    f"and TensorFlow. Received: {variable!r}. Set "
                    "TF_USE_LEGACY_KERAS=1 in the environment before "
                    "TensorFlow is imported, or take `tfplugin.optimizers`."
                )
        super().build(var_list)
        for index, variable in enumerate(var_list):
            state = state_creation.create_state(
                variable,
                _create_variable,
                self.rule,
                self.row_rate,
                self.online_counts,
                self.options,
            )
            # Not by `add_variable`: a checkpoint restored before `build` fills
            # a variable at this moment, and creation then must be over.
            self._variables.extend(state.variables())
            self._states.by_index[index] = state
            self._states.variables.append(variable)
        self._built = True
        waiting = self._states.waiting_counts
        self._states.waiting_counts = []
        for table, counts, num_special_rows in waiting:
            self.set_row_counts(table, counts, num_special_rows)

    def apply_gradients(
        self,
        grads_and_vars: Iterable[_Pair],
        name: str | None = None,
        skip_gradients_aggregation: bool = False,
        **kwargs: Any,
    ) -> tf.Variable:
        """Updates variables by their gradients.

        Args:
            grads_and_vars: Pairs of a gradient, or None, and its variable.
            name: Of the scope of operators.
            skip_gradients_aggregation: Whether replicas' gradients are summed
                already.
            **kwargs: For older code; see tf_keras.

        Returns:
            The variable that counts the steps.

        Raises:
            ValueError: If no variable has a gradient, or a global norm is
                asked for on several replicas.
        """
        pairs = list(grads_and_vars)
        limit = self.options.clip_global_norm
        if limit is not None and any(one is not None for one, _ in pairs):
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            if replicas > 1:
                raise ValueError(
                    "`clip_global_norm` works on one replica only. Received: "
                    f"{replicas} replicas. Use `clip_row_norm` or `clip_value`."
                )
            gradients, variables = zip(*pairs, strict=True)
            scaled = row_options.clip_by_global_norm(gradients, limit)
            pairs = list(zip(scaled, variables, strict=True))
        return super().apply_gradients(
            pairs,
            name=name,
            skip_gradients_aggregation=skip_gradients_aggregation,
            **kwargs,
        )

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
    ) -> None:
        """Updates one variable; tf_keras calls it for each.

        Args:
            gradient: Tensor or IndexedSlices.
            variable: The variable to update.

        Raises:
            ValueError: If the counts of rows are read and none were set.
        """
        # How tf_keras's guide to optimizers of one's own finds the state of a
        # variable, under distribution strategies too; tested.
        index = self._index_dict[self._var_key(variable)]
        row_updates.update(
            variable,
            gradient,
            self._states.by_index[index],
            tf.convert_to_tensor(self.learning_rate),
            self.rule,
            self.row_rate,
            self.options,
        )

    @property
    def reads_row_counts(self) -> bool:
        """Whether the counts that `set_row_counts` takes are read."""
        return row_options.reads_counts(self.row_rate, self.options)

    def set_row_counts(
        self,
        variable: tf.Variable,
        counts: np.ndarray,
        num_special_rows: int = 0,
    ) -> None:
        """Tells how often each row of a table occurs in the training data.

        Before the optimizer is built, in the first step, the counts wait in
        memory. They become its state: checkpoints carry them.

        Args:
            variable: The table, `(rows, dim)`.
            counts: Numbers `(rows,)`, finite and not negative; kept as float32.
            num_special_rows: That many rows at the start (out of vocabulary)
                are not ids; they have the rate `row_rate.special_rate`.

        Raises:
            ValueError: If nobody reads counts, the counts do not fit, or the
                optimizer does not update the variable.

        Example:
        >>> from tfplugin import legacy_keras, optimizers
        >>> table = tf.Variable(tf.zeros((3, 2)))
        >>> optimizer = legacy_keras.SparseSGD(
        ...     1.0, row_rate=optimizers.LogFrequency()
        ... )
        >>> optimizer.set_row_counts(table, [0, 9, 99])
        >>> gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([1, 2]))
        >>> step = optimizer.apply_gradients([(gradient, table)])
        >>> table.numpy()[:, 0].round(4).tolist()
        [0.0, -0.5, -1.0]
        """
        optimizer_parts.require_rows_and_reader(
            variable, self.row_rate, self.options
        )
        counts = row_counts_module.check_counts(
            counts,
            int(variable.shape[0]),
            num_special_rows,
            copy=not self._is_built(),
        )
        if not self._is_built():
            waiting = (variable, counts, num_special_rows)
            self._states.waiting_counts.append(waiting)
            return
        row_counts = self._state_of(variable).row_counts
        if row_counts is not None:
            row_counts.set(counts, num_special_rows)

    def reset_state(self, variable: tf.Variable) -> None:
        """Forgets what was learned about one variable, but its row counts.

        Args:
            variable: A variable this optimizer updates.

        Raises:
            ValueError: If the optimizer is not built or does not update the
                variable.
        """
        self._state_of(variable).reset()

    def state_bytes(self, variable: tf.Variable) -> int:
        """Returns the bytes kept about one variable: slots, steps, counts.

        Args:
            variable: A variable this optimizer updates.

        Raises:
            ValueError: If the optimizer is not built or does not update the
                variable.
        """
        return self._state_of(variable).num_bytes()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        # Rules, rates and counts are objects of the Keras 3 front.
        serialize = keras.saving.serialize_keras_object
        own: dict[str, Any] = {"rule": serialize(self.rule)}
        if self.rule_class is not None:
            own = self.rule.get_config()
        rate = self._serialize_hyperparameter(self._learning_rate)
        return {
            **own,
            "learning_rate": rate if isinstance(rate, dict) else float(rate),
            "row_rate": serialize(self.row_rate),
            "online_counts": serialize(self.online_counts),
            **self.options.get_config(),
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: dict[str, Any] | None = None,
    ) -> "SparseOptimizer":
        """Returns an optimizer with the arguments `get_config` gave."""
        config = dict(config)
        for key in ("rule", "row_rate", "online_counts"):
            if isinstance(config.get(key), dict):
                config[key] = keras.saving.deserialize_keras_object(
                    config[key], custom_objects=custom_objects
                )
        return super().from_config(config, custom_objects=custom_objects)

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> Sequence[Any]:
        # tf_keras would sum duplicates here, and the update sum them again,
        # slower and blind to how often an id occurred; tested.
        return grads

    def _is_built(self) -> bool:
        return getattr(self, "_built", False)

    def _state_of(self, variable: tf.Variable) -> table_state.TableState:
        for index, known in enumerate(self._states.variables):
            if known is variable:
                return self._states.by_index[index]
        raise ValueError(
            "The optimizer must be built with the variable. Received: "
            f"variable={variable.name}, built={self._is_built()}. Call "
            "`build(model.trainable_variables)` or train a step first."
        )


def _refuse_xla(jit_compile: bool | None) -> None:
    if jit_compile:
        raise ValueError(
            "`jit_compile` is refused by sparse optimizers: XLA makes sparse "
            f"gradients dense. Received: jit_compile={jit_compile}. Leave it "
            "out."
        )


def _create_variable(
    name: str, shape: tuple[int, ...], dtype: str, initial_value: float
) -> tf.Variable:
    aggregation = tf.VariableAggregation
    return tf.Variable(
        tf.fill(shape, tf.cast(initial_value, dtype)),
        trainable=False,
        name=name,
        aggregation=aggregation.NONE
        if shape
        else aggregation.ONLY_FIRST_REPLICA,
    )
