"""Several optimizers of one model's variables behind one interface."""

import types
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import embedding_tables
from tfplugin.optimizers import late_options
from tfplugin.optimizers import occurrences
from tfplugin.optimizers import partition
from tfplugin.optimizers import rate_ratios
from tfplugin.optimizers import sparse_optimizer


@keras.saving.register_keras_serializable(package="tfplugin")
class SplitOptimizer(keras.optimizers.Optimizer):
    """Several optimizers behind the interface of one; made by `split`.

    Unlike `keras.optimizers.MultiOptimizer` it is saved whole and once by
    `tf.train.Checkpoint`, `.keras` and `.weights.h5` alike, it may lose
    variables to freezing in mid-training, and it has a `learning_rate`, so that
    Keras's rate callbacks and its log key `learning_rate` work.

    A model loaded from `.keras` goes on with the state of every table that was
    not frozen. Keras's own optimizers cannot: a dense layer frozen after they
    were built costs `rest` all its state there, with a warning of Keras's.

    `learning_rate` is that of `rest`. Setting it moves the tables' rates in
    proportion, so that a callback halves all; a rate of 0, at which a warm-up
    starts, keeps the proportion it came from. A schedule stays as it is: for
    tables it is left alone, for `rest` setting is Keras's TypeError. To set
    one alone, use `split.tables.learning_rate`, `split.rest.learning_rate` or
    `split.overrides[name].learning_rate`.

    Options such as `weight_decay` or `clipnorm` belong on `rest` and act on its
    variables only; set here, they are refused in the next step.

    Args:
        tables: Optimizer of the tables.
        rest: Optimizer of the other variables, not the same object.
        table_mask: For each trainable variable of the model, in order, whether
            it is a table, or the name of its layer in `overrides`. Defaults
            to None, looked up in the model that `split` attached; a saved
            optimizer carries it.
        trainable_mask: For each of these variables whether it still was
            trainable when the optimizer was saved. Defaults to None, all.
        rate_ratio: The tables' rate divided by that of `rest`, read only while
            the latter is 0; with overrides a list, with theirs after it, by
            name. Defaults to None, those of the rates now; a saved optimizer
            carries it.
        overrides: Optimizers of single tables by the name of their layer, each
            an object of its own. Defaults to None, none.
        name: Name of the optimizer. Defaults to None, the class's.

    Raises:
        TypeError: If one is not an optimizer.
        ValueError: If two are one object, or one scales the loss, or the masks
            do not fit, or `rate_ratio` is negative or not finite.

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
        table_mask: Sequence[bool | str] | None = None,
        trainable_mask: Sequence[bool] | None = None,
        rate_ratio: float | Sequence[float | None] | None = None,
        overrides: Mapping[str, keras.optimizers.Optimizer] | None = None,
        name: str | None = None,
    ) -> None:
        own = dict(sorted((overrides or {}).items()))
        inner = {"tables": tables, "rest": rest}
        inner |= {f"overrides[{key!r}]": own[key] for key in own}
        for argument, optimizer in inner.items():
            constructor_checks.check_inner_optimizer(argument, optimizer)
        if len({id(optimizer) for optimizer in inner.values()}) < len(inner):
            raise ValueError(
                "`tables`, `rest` and each of `overrides` must be an optimizer "
                f"of its own: two optimizers, not one twice. Received: {inner}"
            )
        # A callable makes no rate variable, which would be saved for nothing.
        super().__init__(learning_rate=lambda: rest.learning_rate, name=name)
        self.tables = tables
        self.rest = rest
        # Not a dict or a tuple, in which Keras would save them a second time.
        self._overrides = types.MappingProxyType(own)
        # Under their names, since a user chose these; and as attributes, since
        # tf.train.Checkpoint does not look into Keras's dicts.
        for key, optimizer in own.items():
            setattr(self, f"override_{key}", optimizer)
        self._partition = partition.Partition(
            None
            if table_mask is None
            else [k if isinstance(k, str) else bool(k) for k in table_mask],
            None if trainable_mask is None else list(map(bool, trainable_mask)),
            names=tuple(own),
        )
        self._ratios = rate_ratios.RateRatios(
            rest, [tables, *own.values()], rate_ratio
        )

    @property
    def overrides(self) -> Mapping[str, keras.optimizers.Optimizer]:
        """The optimizers of single tables, by the name of their layer."""
        return self._overrides

    def attach(self, model: keras.Model) -> None:
        """Names the model whose tables `build`, maybe in a step, looks up.

        Args:
            model: Kept by a weak reference only.
        """
        self._partition.attach(model)
        for layer, table in embedding_tables.layers_and_tables(model):
            optimizer = self._overrides.get(layer.name, self.tables)
            if getattr(optimizer, "counts_occurrences", False):
                occurrences.ask([table])

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Tells tables from the rest and builds all optimizers.

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
            for optimizer, own_kind in self._kinds():
                own = [
                    variable
                    for variable, kind in zip(variables, mask, strict=True)
                    if kind == own_kind
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
            ValueError: If a variable is unknown, or no gradient is given, or
                the optimizer is built in this step and had to be before.
        """
        if not grads:
            return
        late_options.refuse(self)
        if trainable_variables is None:
            trainable_variables = self._partition.variables
        variables = list(trainable_variables)
        if not self.built:
            self.build(variables)
            occurrences.refuse_summed(variables)
        pairs = list(zip(grads, variables, strict=True))
        if all(gradient is None for gradient, _ in pairs):
            raise ValueError("No gradients provided for any variable.")
        kinds = [self._kind_of(variable) for variable in variables]
        for optimizer, own_kind in self._kinds():
            own = [
                pair
                for pair, kind in zip(pairs, kinds, strict=True)
                if kind == own_kind
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
        """Hands row counts to the table's optimizer.

        Args:
            variable: The table.
            counts: See `SparseOptimizer.set_row_counts`.
            num_special_rows: See `SparseOptimizer.set_row_counts`.
        """
        optimizer = self._sparse_optimizer_of(variable)
        optimizer.set_row_counts(variable, counts, num_special_rows)

    def reset_state(self, variable: keras.Variable) -> None:
        """Resets what the table's optimizer keeps about one table.

        Args:
            variable: The table; see `SparseOptimizer.reset_state`.
        """
        self._table_method(variable, "reset_state")(variable)

    def state_variables(self, variable: keras.Variable) -> list[Any]:
        """Returns the slots and steps of one table.

        Args:
            variable: The table; see `SparseOptimizer.state_variables`.
        """
        return self._table_method(variable, "state_variables")(variable)

    def gate_updates(
        self, variable: keras.Variable, gate: tf.Variable | None
    ) -> tf.Variable | None:
        """Lets a switch decide whether one table is updated.

        Args:
            variable: The table; see `SparseOptimizer.gate_updates`.
            gate: Bool scalar, or None.
        """
        return self._table_method(variable, "gate_updates")(variable, gate)

    def state_bytes(self, variable: keras.Variable) -> int:
        """Returns the bytes the table's optimizer keeps about one table.

        Args:
            variable: The table; see `SparseOptimizer.state_bytes`.
        """
        optimizer = self._sparse_optimizer_of(variable)
        if self.built and not optimizer.built:  # all its tables are frozen
            return 0
        return optimizer.state_bytes(variable)

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
        self._ratios.set(value)

    @property
    def variables(self) -> list[keras.Variable]:
        """The iterations of this optimizer and all variables of the others."""
        own = super().variables
        return own + [v for one, _ in self._kinds() for v in one.variables]

    def finalize_variable_values(
        self, var_list: Sequence[keras.Variable]
    ) -> None:
        """Lets all optimizers write final values, such as averages.

        Args:
            var_list: Not read; each optimizer knows its own variables.
        """
        mask = self._partition.mask or []
        pairs = list(zip(self._partition.variables, mask, strict=False))
        for optimizer, own_kind in self._kinds():
            if optimizer.built:
                optimizer.finalize_variable_values(
                    [variable for variable, kind in pairs if kind == own_kind]
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
        overrides = {k: serialize(one) for k, one in self.overrides.items()}
        ratios = self._ratios.update()
        return {
            "tables": serialize(self.tables),
            "rest": serialize(self.rest),
            "table_mask": table_mask,
            "trainable_mask": trainable_mask,
            "rate_ratio": ratios if overrides else ratios[0],
            "overrides": overrides or None,
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
        # One without is of a version that had no overrides.
        for key in {"tables", "rest", "overrides"} & set(config):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return cls(**config)

    def _kinds(
        self,
    ) -> list[tuple[keras.optimizers.Optimizer, bool | str]]:
        """Each optimizer with what the partition's mask says of its own."""
        named = [(one, key) for key, one in self._overrides.items()]
        return [(self.tables, True), *named, (self.rest, False)]

    def _kind_of(self, variable: keras.Variable) -> bool | str:
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

    def _optimizer_of_table(
        self, variable: keras.Variable
    ) -> keras.optimizers.Optimizer:
        kind = self._partition.kind_of(variable)
        # `tables` knows what to say of a variable that is nobody's.
        return self.overrides[kind] if isinstance(kind, str) else self.tables

    def _table_method(self, variable: keras.Variable, name: str) -> Any:
        optimizer = self._optimizer_of_table(variable)
        method = getattr(optimizer, name, None)
        if not callable(method):
            raise TypeError(
                f"This needs an optimizer of the table with `{name}`, such as "
                "a SparseOptimizer. "
                f"Received: {type(optimizer).__name__} for {variable.path}"
            )
        return method

    def _sparse_optimizer_of(
        self, variable: keras.Variable
    ) -> sparse_optimizer.SparseOptimizer:
        optimizer = self._optimizer_of_table(variable)
        if not isinstance(optimizer, sparse_optimizer.SparseOptimizer):
            raise TypeError(
                "Row counts and their bytes need a SparseOptimizer for tables. "
                f"Received: {type(optimizer).__name__} for {variable.path}"
            )
        return optimizer
