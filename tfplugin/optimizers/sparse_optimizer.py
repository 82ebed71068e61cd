"""The base class of the optimizers for embedding tables."""

import dataclasses
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import late_options
from tfplugin.optimizers import occurrences
from tfplugin.optimizers import optimizer_parts
from tfplugin.optimizers import row_blocks
from tfplugin.optimizers import row_counts as row_counts_module
from tfplugin.optimizers import row_options
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import row_updates
from tfplugin.optimizers import rules
from tfplugin.optimizers import saved_states
from tfplugin.optimizers import state_creation
from tfplugin.optimizers import table_access
from tfplugin.optimizers import table_state


@keras.saving.register_keras_serializable(package="tfplugin")
class SparseOptimizer(table_access.TableAccess):
    """Optimizer whose step costs what the touched rows cost.

    A gradient that is an IndexedSlices takes the path: sum duplicates once,
    gather the state of the touched rows, apply the rule, scatter. Rows that the
    batch did not touch are neither read nor written. A dense gradient takes the
    same rule over all rows, so one optimizer may serve a whole model; to give
    tables and dense layers optimizers of their own, see `split`.

    State is float32 for tables of a smaller float (bfloat16, float16), else of
    the variable's dtype; the rule computes in the state's dtype. A NaN gradient
    makes its row NaN, as in Keras. Keras's options set as attributes after
    construction are refused in the next step that is traced.

    A rule of your own is a subclass of `rules.Rule`: a frozen dataclass,
    registered with `keras.saving.register_keras_serializable`, whose fields are
    its constants. Saved models then carry it.

    Args:
        rule: `rules.Rule`. The subclasses `LazyAdam` and so on make theirs
            from constants.
        learning_rate: Float, `keras.optimizers.schedules.LearningRateSchedule`
            or callable without arguments.
        row_rate: `RowRate`: a factor on the rate for each row of every variable
            with two axes or more. Defaults to None, the same rate for all rows.
        online_counts: `OnlineCounts`: lets the counts that `row_rate` reads
            grow with every update. Defaults to None, counts stay as set.
        name: Name of the optimizer. Defaults to the class's.
        **options: What `RowOptions` takes, all off by default:
            `weight_decay`, decoupled decay of touched rows, with
            `compound_weight_decay` made up for absent steps when a row is next
            touched; `adaptive_decay`, by absent steps alone, leaving
            `adaptive_decay_kept`; `frequency_decay`, by the row's count; and
            at most one of `clip_value`, the largest element of a summed
            gradient, `clip_row_norm`, the largest norm of a row's,
            `clip_global_norm`, the largest norm of those of one `apply`, on
            one replica only, and `cow_clip_ratio` with `cow_clip_bound`, by
            the row's own norm. Options of Keras's base class are refused
            unless they are off.

    Raises:
        ValueError: If an option is out of its range, would sweep a table or
            cannot work with sparse gradients, or online counts have no row
            rate to read them.
        TypeError: If an argument is unknown or of the wrong class.

    Example:
    >>> from tfplugin import optimizers
    >>> table = keras.Variable(np.ones((4, 2), "float32"))
    >>> optimizer = optimizers.SparseOptimizer(rules.Sgd(), 0.5)
    >>> gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([3, 3]))
    >>> optimizer.apply([gradient], [table])
    >>> table.numpy()[:, 0].tolist()
    [1.0, 1.0, 1.0, 0.0]
    """

    # The rule that a subclass makes from constants, which its config then has.
    rule_class: ClassVar[type[rules.Rule] | None] = None

    def __init__(
        self,
        rule: rules.Rule,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        row_rate: row_rates.RowRate | None = None,
        online_counts: row_counts_module.OnlineCounts | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        known = {
            field.name for field in dataclasses.fields(row_options.RowOptions)
        }
        own = {key: options.pop(key) for key in known & set(options)}
        constructor_checks.refuse_base_options(options)
        acting = row_options.RowOptions(**own)
        optimizer_parts.check(rule, row_rate, online_counts, acting)
        # Keras's own `weight_decay` stays None: it would sweep every table.
        super().__init__(learning_rate=learning_rate, name=name)
        self.rule = rule
        self.row_rate = row_rate
        self.online_counts = online_counts
        self.options = acting
        self._states = table_state.TableStates()

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the state of the variables; Keras calls it once.

        Args:
            variables: The variables this optimizer will update.
        """
        if self.built:
            return
        # Variables are made, and waiting counts written in blocks, eagerly.
        with tf.init_scope():
            super().build(list(variables))
            for index, variable in enumerate(variables):
                self._states.by_index[index] = state_creation.create_state(
                    variable,
                    self._create_variable,
                    self.rule,
                    self.row_rate,
                    self.online_counts,
                    self.options,
                )
                self._states.variables.append(variable)
            if self.counts_occurrences:
                occurrences.ask(variables)
            waiting = self._states.waiting_counts
            self._states.waiting_counts = []
            for table, counts, num_special_rows in waiting:
                self.set_row_counts(table, counts, num_special_rows)

    def apply(
        self,
        grads: Sequence[tf.Tensor | tf.IndexedSlices | None],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Updates variables by their gradients.

        Args:
            grads: A gradient, or None, for each variable.
            trainable_variables: The variables. Defaults to None, those that the
                optimizer was built with.

        Raises:
            ValueError: If a global norm is asked for on several replicas, or
                an option of Keras's was set after construction, or the
                optimizer is built in this step and had to be before.
        """
        late_options.refuse(self)
        limit = self.options.clip_global_norm
        if limit is not None:
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            if replicas > 1:
                raise ValueError(
                    "`clip_global_norm` works on one replica only: the norm of "
                    "gradients before they are summed over replicas is not "
                    f"theirs. Received: {replicas} replicas. Use "
                    "`clip_row_norm` or `clip_value`."
                )
            grads = row_options.clip_by_global_norm(grads, limit)
        if not self.built and self.counts_occurrences:
            occurrences.ask(trainable_variables or ())
            occurrences.refuse_summed(trainable_variables or ())
        super().apply(grads, trainable_variables)

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
            ValueError: If the counts of rows are read and none were set.
        """
        variable = row_blocks.native(variable)
        self._run_gated(
            variable,
            lambda: row_updates.update(
                variable,
                gradient,
                self._states.by_index[self._get_variable_index(variable)],
                learning_rate,
                self.rule,
                self.row_rate,
                self.options,
            ),
        )

    @property
    def counts_occurrences(self) -> bool:
        """Whether it matters how often a row occurs in a batch."""
        online = self.online_counts
        return self.options.counts_occurrences or (
            online is not None and online.unit == "occurrences"
        )

    @property
    def reads_row_counts(self) -> bool:
        """Whether the counts that `set_row_counts` takes are read."""
        return row_options.reads_counts(self.row_rate, self.options)

    def set_row_counts(
        self,
        variable: keras.Variable,
        counts: np.ndarray,
        num_special_rows: int = 0,
    ) -> None:
        """Tells how often each row of a table occurs in the training data.

        Read by the row rate and by `frequency_decay`. The counts become state
        of the optimizer: checkpoints, `.keras` and `.weights.h5` files carry
        them. Before the optimizer is built they wait in memory for `build`.
        Calling again replaces them.

        Args:
            variable: The table, `(rows, dim)`.
            counts: Numbers `(rows,)`, finite and not negative; kept as float32.
            num_special_rows: That many rows at the start (missing, out of
                vocabulary) are left out of the maximum and have the rate
                `row_rate.special_rate`.

        Raises:
            ValueError: If nobody reads counts, the counts do not fit, or the
                optimizer does not update the variable.

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
        optimizer_parts.require_rows_and_reader(
            variable, self.row_rate, self.options
        )
        counts = row_counts_module.check_counts(
            counts,
            int(variable.shape[0]),
            num_special_rows,
            copy=not self.built,
        )
        if not self.built:
            waiting = (variable, counts, num_special_rows)
            self._states.waiting_counts.append(waiting)
            return
        row_counts = self._state_of(variable).row_counts
        if row_counts is not None:
            row_counts.set(counts, num_special_rows)

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
        serialize = keras.saving.serialize_keras_object
        config = super().get_config()
        own: dict[str, Any] = {"rule": serialize(self.rule)}
        if self.rule_class is not None:
            own = self.rule.get_config()
        return {
            **own,
            "learning_rate": config["learning_rate"],
            "row_rate": serialize(self.row_rate),
            "online_counts": serialize(self.online_counts),
            **self.options.get_config(),
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
        for key in ("rule", "row_rate", "online_counts"):
            if isinstance(config.get(key), dict):
                config[key] = keras.saving.deserialize_keras_object(
                    config[key], custom_objects=custom_objects
                )
        return super().from_config(config, custom_objects=custom_objects)

    def _create_variable(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        initial_value: float,
    ) -> keras.Variable:
        def fill(size: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
            # Keras's Constant would peak at two copies.
            return tf.fill(size, tf.cast(initial_value, dtype))

        return self.add_variable(
            shape,
            initializer=fill,
            dtype=dtype,
            aggregation="none" if shape else "only_first_replica",
            name=name,
        )
