"""One optimizer for the embedding tables of a model, one for the rest."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import partition
from tfplugin.optimizers import sparse_optimizer


def split(
    model: keras.Model,
    tables: keras.optimizers.Optimizer,
    rest: keras.optimizers.Optimizer,
) -> "SplitOptimizer":
    """Gives the tables of a model one optimizer and its other weights another.

    Tables are found by object in the model's layers, however deep; a
    `keras.layers.Embedding` counts as well as ours. The model need not be built
    yet: its tables are looked up when the optimizer is built.

    Args:
        model: The model to compile with what is returned.
        tables: Optimizer of the tables, as a rule a `SparseOptimizer`.
        rest: Optimizer of everything else, any of Keras's.

    Returns:
        A `SplitOptimizer`, for `model.compile`.

    Example:
    >>> from tfplugin import optimizers
    >>> model = keras.Sequential([
    ...     keras.Input((2,)), keras.layers.Embedding(5, 3),
    ...     keras.layers.Flatten(), keras.layers.Dense(1),
    ... ])
    >>> model.compile(optimizers.split(
    ...     model, tables=optimizers.RowwiseAdagrad(0.05),
    ...     rest=keras.optimizers.Adam(1e-3),
    ... ), "mse")
    >>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    >>> len(history.epoch)
    1
    """
    optimizer = SplitOptimizer(tables, rest)
    optimizer.attach(model)
    return optimizer


@keras.saving.register_keras_serializable(package="tfplugin")
class SplitOptimizer(keras.optimizers.Optimizer):
    """Two optimizers behind the interface of one; made by `split`.

    Unlike `keras.optimizers.MultiOptimizer` it is saved whole and once by
    `tf.train.Checkpoint`, `.keras` and `.weights.h5` alike, it may lose
    variables to freezing in mid-training, and it has a `learning_rate`, so that
    Keras's rate callbacks and its log key `learning_rate` work.

    A model loaded from `.keras` goes on with the state of every table that was
    not frozen. Keras's own optimizers cannot: a dense layer frozen after they
    were built costs `rest` all its state there, with a warning of Keras's.

    `learning_rate` is that of `rest`. Setting it moves the tables' rate in
    proportion, so that a callback halves both; a rate of 0, at which a warm-up
    starts, keeps the proportion it came from. A schedule stays as it is: for
    `tables` it is left alone, for `rest` setting is Keras's TypeError. To set
    one alone, use `split.tables.learning_rate` or `split.rest.learning_rate`.

    Options such as `weight_decay` or `clipnorm` belong on `rest` and act on its
    variables only.

    Args:
        tables: Optimizer of the tables.
        rest: Optimizer of the other variables, not the same object.
        table_mask: For each trainable variable of the model, in order, whether
            it is a table. Defaults to None, looked up in the model that `split`
            attached; a saved optimizer carries it.
        trainable_mask: For each of these variables whether it still was
            trainable when the optimizer was saved. Defaults to None, all.
        rate_ratio: The tables' rate divided by that of `rest`, read only while
            the latter is 0. Defaults to None, that of the two rates now; a
            saved optimizer carries it.
        name: Name of the optimizer. Defaults to None, the class's.

    Raises:
        TypeError: If `tables` or `rest` is not an optimizer.
        ValueError: If they are one object, or scale the loss, or the masks
            differ in length, or `rate_ratio` is negative or not finite.

    Example:
    >>> from tfplugin import optimizers
    >>> optimizer = SplitOptimizer(
    ...     optimizers.SparseSGD(0.5),
    ...     keras.optimizers.SGD(0.125),
    ...     table_mask=[True, False],
    ... )
    >>> table, bias = keras.Variable([[0.0]]), keras.Variable([0.0])
    >>> optimizer.apply([tf.ones((1, 1)), tf.ones(1)], [table, bias])
    >>> float(table[0, 0]), float(bias[0])
    (-0.5, -0.125)
    """

    def __init__(
        self,
        tables: keras.optimizers.Optimizer,
        rest: keras.optimizers.Optimizer,
        table_mask: Sequence[bool] | None = None,
        trainable_mask: Sequence[bool] | None = None,
        rate_ratio: float | None = None,
        name: str | None = None,
    ) -> None:
        constructor_checks.check_inner_optimizer("tables", tables)
        constructor_checks.check_inner_optimizer("rest", rest)
        if tables is rest:
            raise ValueError(
                "`tables` and `rest` must be two optimizers. "
                f"Received: tables=rest={tables!r}"
            )
        if rate_ratio is not None:
            constructor_checks.require_not_negative(rate_ratio=rate_ratio)
        # A callable makes no rate variable, which would be saved for nothing.
        super().__init__(learning_rate=lambda: rest.learning_rate, name=name)
        self.tables = tables
        self.rest = rest
        self._partition = partition.Partition(
            None if table_mask is None else list(map(bool, table_mask)),
            None if trainable_mask is None else list(map(bool, trainable_mask)),
        )
        self._rate_ratio = rate_ratio
        # Now, since a rate of 0 may be restored before any rate is set.
        self._rate_ratio = self._current_ratio()

    def attach(self, model: keras.Model) -> None:
        """Names the model whose tables `build` is to look up.

        Args:
            model: Kept by a weak reference only.
        """
        self._partition.attach(model)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Tells tables from the rest and builds both optimizers.

        Args:
            variables: The trainable variables of the model.

        Raises:
            ValueError: If the tables are not known or the model has none.
        """
        if self.built:
            return
        variables = list(variables)
        mask = self._partition.build(variables)
        with tf.init_scope():
            super().build(variables)
            for optimizer, is_table in self._kinds():
                own = [
                    variable
                    for variable, kind in zip(variables, mask, strict=True)
                    if kind == is_table
                ]
                if own:
                    optimizer.build(own)

    def apply(
        self,
        grads: Sequence[tf.Tensor | tf.IndexedSlices | None],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Hands each gradient to the optimizer of its variable.

        Args:
            grads: A gradient, or None, for each variable.
            trainable_variables: The variables, all that the optimizer was built
                with or some of them. Defaults to None, all.

        Raises:
            ValueError: If a variable is unknown or no gradient is given.
        """
        if not grads:
            return
        if trainable_variables is None:
            trainable_variables = self._partition.variables
        variables = list(trainable_variables)
        self.build(variables)
        pairs = list(zip(grads, variables, strict=True))
        if all(gradient is None for gradient, _ in pairs):
            raise ValueError("No gradients provided for any variable.")
        kinds = [self._is_table(variable) for variable in variables]
        for optimizer, is_table in self._kinds():
            own = [
                pair
                for pair, kind in zip(pairs, kinds, strict=True)
                if kind == is_table
            ]
            # Keras refuses a call without any gradient, but one side may well
            # be frozen or out of the loss.
            if any(gradient is not None for gradient, _ in own):
                own_gradients, own_variables = zip(*own, strict=True)
                optimizer.apply(list(own_gradients), list(own_variables))
        self.iterations.assign_add(1)

    def set_row_counts(
        self,
        variable: keras.Variable,
        counts: np.ndarray,
        num_special_rows: int = 0,
    ) -> None:
        """Hands row counts to the tables' optimizer.

        Args:
            variable: The table.
            counts: See `SparseOptimizer.set_row_counts`.
            num_special_rows: See `SparseOptimizer.set_row_counts`.
        """
        self._sparse_tables().set_row_counts(variable, counts, num_special_rows)

    def reset_state(self, variable: keras.Variable) -> None:
        """Resets what the tables' optimizer keeps about one table.

        Args:
            variable: The table; see `SparseOptimizer.reset_state`.
        """
        if not callable(getattr(self.tables, "reset_state", None)):
            raise TypeError(
                "Resets need an optimizer of the tables with `reset_state`, "
                "such as a SparseOptimizer. "
                f"Received: tables={type(self.tables).__name__}"
            )
        self.tables.reset_state(variable)

    def state_bytes(self, variable: keras.Variable) -> int:
        """Returns the bytes the tables' optimizer keeps about one table.

        Args:
            variable: The table; see `SparseOptimizer.state_bytes`.
        """
        tables = self._sparse_tables()
        if self.built and not tables.built:  # every table is frozen
            return 0
        return tables.state_bytes(variable)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of `rest`."""
        return self.rest.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(value, schedule) or callable(value):
            raise TypeError(
                "`learning_rate` of a SplitOptimizer takes a number. Received: "
                f"learning_rate={value!r}. Set `rest.learning_rate` and "
                "`tables.learning_rate` instead."
            )
        self._rate_ratio = self._current_ratio()
        self.rest.learning_rate = value
        settable = self._settable_rate(self.tables) is not None
        if self._rate_ratio is not None and settable:
            # What `rest` now holds, not `value`: a value that rounds to the old
            # rate must leave the tables' rate exactly where it was.
            new = self._settable_rate(self.rest) or 0.0
            self.tables.learning_rate = new * self._rate_ratio

    @property
    def variables(self) -> list[keras.Variable]:
        """The iterations of this optimizer and all variables of the two."""
        own = super().variables
        return own + self.tables.variables + self.rest.variables

    def finalize_variable_values(
        self, var_list: Sequence[keras.Variable]
    ) -> None:
        """Lets both optimizers write final values, such as averages.

        Args:
            var_list: Not read; each optimizer knows its own variables.
        """
        mask = self._partition.mask or []
        pairs = list(zip(self._partition.variables, mask, strict=False))
        for optimizer, is_table in self._kinds():
            if optimizer.built:
                optimizer.finalize_variable_values(
                    [variable for variable, kind in pairs if kind == is_table]
                )

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets `variables`, in their order.

        Args:
            weights: An array for each of `variables`.

        Raises:
            ValueError: If there are more or fewer weights than variables.
        """
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

    def save_own_variables(self, store: Any) -> None:
        """Saves the iterations; Keras saves `tables` and `rest` by itself.

        Args:
            store: Keras's store of arrays.
        """
        store["0"] = self.iterations.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved.

        Args:
            store: Keras's store of arrays.
        """
        self.iterations.assign(store["0"])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        table_mask, trainable_mask = self._partition.masks()
        return {
            "tables": serialize(self.tables),
            "rest": serialize(self.rest),
            "table_mask": table_mask,
            "trainable_mask": trainable_mask,
            "rate_ratio": self._current_ratio(),
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: dict[str, Any] | None = None,
    ) -> "SplitOptimizer":
        """Returns an optimizer with the arguments `get_config` gave."""
        config = dict(config)
        for key in ("tables", "rest"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return cls(**config)

    def _kinds(self) -> tuple[tuple[keras.optimizers.Optimizer, bool], ...]:
        return ((self.tables, True), (self.rest, False))

    def _is_table(self, variable: keras.Variable) -> bool:
        mask = self._partition.mask or []
        try:
            # See SparseOptimizer: Keras's documented way to find a variable.
            return mask[self._get_variable_index(variable)]
        except KeyError as error:
            raise ValueError(
                "The optimizer must be built with every variable it updates. "
                f"Received: variable={variable.path}. A layer made trainable "
                "after the first step needs a new `split` and `compile`."
            ) from error

    def _current_ratio(self) -> float | None:
        """The tables' rate by that of `rest`; the last one if that is 0."""
        rest_rate = self._settable_rate(self.rest)
        tables_rate = self._settable_rate(self.tables)
        if not rest_rate or tables_rate is None:
            return self._rate_ratio
        return tables_rate / rest_rate

    def _sparse_tables(self) -> sparse_optimizer.SparseOptimizer:
        if not isinstance(self.tables, sparse_optimizer.SparseOptimizer):
            raise TypeError(
                "Row counts and their bytes need a SparseOptimizer for tables. "
                f"Received: tables={type(self.tables).__name__}"
            )
        return self.tables

    @staticmethod
    def _settable_rate(optimizer: keras.optimizers.Optimizer) -> float | None:
        rate = optimizer.learning_rate
        # A schedule or a callable gives a tensor; only a variable can be set.
        if not isinstance(rate, keras.Variable):
            return None
        return float(rate.numpy())
