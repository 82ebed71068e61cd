"""Trains tables in the first epochs only."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfplugin.callbacks import resettable_tables


class FreezeTables(keras.callbacks.Callback):
    """Stops the updates of tables after some epochs; the rest trains on.

    From epoch `after_epochs` on, counted from 0 as Keras counts, a table keeps
    its rows bit for bit: no rule, no weight decay, no regularisation; its
    slots, steps and row counts, also counts that grow online, stay as well. A
    step does not do that work then and costs less. Only a `clip_global_norm` of
    the tables' optimizer still sees their gradients.

    It is a switch in the optimizer, not `trainable`, which Keras reads only
    when it traces a step. All depends on the epoch alone, so training resumed
    with `fit(initial_epoch=k)` is the same. Training without the callback
    later, with the same compiled model, leaves the tables as the last epoch
    had them: free again after `on_train_end`. One callback may serve several
    models, and a model that is compiled anew.

    Args:
        after_epochs: How many epochs tables are trained, at least 1.
        layers: Layers or models whose tables to freeze, as objects; None
            (default) for all tables of the model.

    Raises:
        ValueError: On construction, if `after_epochs` is below 1; when
            training begins, if the optimizer has no `gate_updates`, or a
            layer of `layers` has no table of the model.

    Example:
    >>> import numpy as np
    >>> from tfplugin import layers, optimizers
    >>> table = layers.Embedding(5, 2)
    >>> model = keras.Sequential([
    ...     keras.Input((), dtype="int64"), table, keras.layers.Dense(1),
    ... ])
    >>> model.compile(optimizers.split(
    ...     model, tables=optimizers.RowwiseAdagrad(0.05),
    ...     rest=keras.optimizers.Adam(1e-3),
    ... ), "mse")
    >>> data = np.arange(4), np.ones(4)
    >>> freeze = FreezeTables(after_epochs=1)
    >>> _ = model.fit(*data, epochs=1, verbose=0, callbacks=[freeze])
    >>> before = table.embeddings.numpy()
    >>> _ = model.fit(
    ...     *data, initial_epoch=1, epochs=3, verbose=0, callbacks=[freeze]
    ... )
    >>> bool((table.embeddings.numpy() == before).all())
    True
    """

    def __init__(
        self,
        after_epochs: int,
        layers: Sequence[keras.Layer] | None = None,
    ) -> None:
        super().__init__()
        if after_epochs < 1:
            raise ValueError(
                "`after_epochs` must be at least 1, or tables are never "
                f"trained. Received: after_epochs={after_epochs}. To leave a "
                "table as it is, set `trainable=False` on its layer."
            )
        self.after_epochs = after_epochs
        self.layers = None if layers is None else list(layers)
        self._gate = tf.Variable(True, trainable=False)
        self._switched: keras.Model | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the optimizer the switch."""
        model = self.model
        resettable_tables.require_methods(
            model.optimizer,
            "FreezeTables",
            ["gate_updates"],
            "since a stock optimizer cannot leave a table alone",
        )
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        before = [
            model.optimizer.gate_updates(table, self._gate)
            for table in self._tables()
        ]
        known = all(gate is self._gate for gate in before)
        if not known or self._switched is not model:
            # A step that was traced in an earlier `fit` has no switch.
            model.make_train_function(force=True)
        self._switched = model

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Turns updates on or off for `epoch`, from 0."""
        self._gate.assign(epoch < self.after_epochs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Turns updates on."""
        self._gate.assign(True)

    def _tables(self) -> list[keras.Variable]:
        known = {
            id(layer.embeddings): layer.embeddings
            for layer in resettable_tables.find_tables(self.model)
        }
        if self.layers is None:
            chosen = list(known)
        else:
            chosen = [
                id(layer.embeddings)
                for layer in resettable_tables.find_tables(self.layers)
            ]
        if not chosen or not set(chosen) <= set(known):
            raise ValueError(
                "FreezeTables must be given layers with a table of the model "
                "that is trained. Received: "
                f"layers={self.layers}, model={self.model.name!r}."
            )
        trained = {id(v) for v in self.model.trainable_variables}
        return [known[key] for key in chosen if key in trained]
