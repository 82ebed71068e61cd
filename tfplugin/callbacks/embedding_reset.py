"""Draws embedding tables anew at every epoch, against overfitting."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfplugin.callbacks import resettable_tables


class EmbeddingReset(keras.callbacks.Callback):
    """Forgets the tables, not the dense layers, before each further epoch.

    Sparse models overfit from the second epoch on because rows of rare ids
    memorise their few examples. At the start of epoch `start_epoch` and of each
    one after it, every table gets fresh random rows and its optimizer state
    (accumulators, moments, and the step that a bias correction reads) is reset;
    dense layers and their optimizer state stay as they are, bit for bit, and so
    do `optimizer.iterations` and row counts. Validate at the end of an epoch:
    just after a reset the model knows no id.

    The rows depend on `seed`, the epoch and the table's place in the model
    only, so training resumed with `fit(initial_epoch=k)` draws the same. Epochs
    count from 0, as Keras counts them.

    A table belongs to a built layer of the model, however deep, with a Keras
    variable `embeddings` and a method `reset_embeddings(seed)`, such as
    `tfplugin.layers.Embedding`. The model's optimizer must have a method
    `reset_state(variable)`: what `tfplugin.optimizers.split` returns for a
    sparse optimizer of the tables, or a sparse optimizer.

    A frozen table, not one of `model.trainable_variables`, stays as it is. Rows
    that `layers.load_embeddings` filled get their vectors back, the others of
    their table are drawn. Vectors that came another way, `set_weights` say, are
    lost: leave such a table out of `layers`.

    Args:
        seed: Integer of at least 0 that all drawn rows depend on.
        layers: Layers or models whose tables to reset, as objects; None
            (default) for all tables of the model. Give it to keep what tables
            have learned, or to train a `keras.layers.Embedding`, which cannot
            be drawn anew, beside tables that can.
        start_epoch: First epoch, from 0, at whose start tables are reset; at
            least 1, since the first epoch starts with fresh tables anyway.

    Raises:
        ValueError: On construction, if `seed` is negative or `start_epoch`
            below 1; when training begins, if the optimizer has no
            `reset_state`, or without `layers` a trainable table cannot be
            drawn anew; at the first reset, if there is no table, or a table
            of `layers` is not in the model.

    Example:
    >>> from tfplugin import layers, optimizers
    >>> model = keras.Sequential([
    ...     keras.Input((), dtype="int64"),
    ...     layers.Embedding(5, 2), keras.layers.Dense(1),
    ... ])
    >>> model.compile(optimizers.split(
    ...     model, tables=optimizers.RowwiseAdagrad(0.05),
    ...     rest=keras.optimizers.Adam(1e-3),
    ... ), "mse")
    >>> history = model.fit(
    ...     np.arange(4), np.ones(4), epochs=3, verbose=0,
    ...     callbacks=[EmbeddingReset(seed=1)],
    ... )

    Reference: Liu et al., "Multi-epoch learning with data augmentation for deep
    click-through rate prediction" (MEDA), arXiv 2305.19531.
    """

    def __init__(
        self,
        seed: int = 0,
        layers: Sequence[keras.Layer] | None = None,
        start_epoch: int = 1,
    ) -> None:
        super().__init__()
        if seed < 0:
            raise ValueError(
                f"`seed` must be at least 0. Received: seed={seed}."
            )
        if start_epoch < 1:
            raise ValueError(
                "`start_epoch` must be at least 1: epochs count from 0, and "
                "the first starts with fresh tables. "
                f"Received: start_epoch={start_epoch}."
            )
        self.seed = seed
        self.layers = None if layers is None else list(layers)
        self.start_epoch = start_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuses an optimizer or a table that cannot be reset."""
        resettable_tables.require_methods(
            self.model.optimizer,
            "EmbeddingReset",
            ["reset_state"],
            "since stale accumulators would hold the fresh rows back",
        )
        self._refuse_fixed_tables()

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Resets the tables if `epoch`, from 0, is `start_epoch` or later."""
        if epoch < self.start_epoch:
            return
        optimizer = self.model.optimizer
        if not optimizer.built:
            # A resumed run gets here before the first step builds it.
            optimizer.build(self.model.trainable_variables)
        self._refuse_fixed_tables()  # of layers not built at the begin
        for position, layer in resettable_tables.choose(
            self.model, self.layers
        ):
            # First, since it may refuse: rows drawn anew are lost.
            optimizer.reset_state(layer.embeddings)
            layer.reset_embeddings(table_seed(self.seed, epoch, position))

    def _refuse_fixed_tables(self) -> None:
        if self.layers is None:
            resettable_tables.refuse_fixed(self.model, "EmbeddingReset")


def table_seed(seed: int, epoch: int, position: int) -> int:
    """Returns the seed of one table at one epoch.

    Args:
        seed: Integer of at least 0.
        epoch: Epoch, from 0.
        position: Place of the table in the model, from 0.

    Returns:
        An integer in `[0, 2**31)`, the same on every machine; different
        arguments give unrelated seeds.

    Example:
    >>> table_seed(0, 1, 0) == table_seed(0, 1, 0) != table_seed(0, 2, 0)
    True
    """
    state = np.random.SeedSequence([seed, epoch, position]).generate_state(1)
    return int(state[0]) & 0x7FFFFFFF
