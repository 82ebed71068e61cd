"""Several sets of tables in turn under the same dense layers."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfplugin.callbacks import embedding_reset
from tfplugin.callbacks import resettable_tables

# 65,536 rows of 64 floats are 16 MiB, small beside a table.
_BLOCK_ROWS = 65536
_UNUSED = -1


class TableSets(keras.callbacks.Callback):
    """Trains one of several sets of tables in each pass over a chunk of data.

    Continual MEDA: rows of rare ids memorise their few examples when they meet
    them again. So each pass over the same chunk of data gives its gradients to
    a set of tables of its own, which meets every chunk once, while all sets
    share the dense layers. In epoch e, counted from 0 as Keras counts, pass
    j = e mod `passes_per_chunk` trains set j mod `num_sets`. One set is in the
    model; the others (rows, slots and steps) are kept aside and are changed for
    it in blocks at the beginning of an epoch. Dense layers, their optimizer
    state, `optimizer.iterations` and the tables' row counts are never touched.

    The first set is what the model has. A further one is drawn when its turn
    first comes, as `EmbeddingReset` with the same seed draws it at that epoch,
    so that as many sets as epochs are `EmbeddingReset`. Which tables there
    are, and what they and the optimizer need, is said there too.

    After training, the model has the set that was trained last: it is what is
    evaluated, saved and exported. The sets aside need `num_sets` - 1 times the
    memory of tables and slots, also in checkpoints. Being of that model and
    that optimizer, one object serves no others.

    Args:
        num_sets: How many sets, at least 2.
        passes_per_chunk: Epochs over a chunk of data before the next chunk
            comes, at least `num_sets`. Defaults to None, `num_sets`.
        seed: Integer of at least 0 that all drawn rows depend on.
        layers: Layers or models whose tables have sets, as objects; None
            (default) for all tables of the model.

    Attributes:
        trackables: Variables to carry over a resume, by name; empty before
            `build`.

    Raises:
        ValueError: On construction, if an argument is out of its range; when
            training begins, as `EmbeddingReset`, and if the model or its
            optimizer is another one than before.

    Example:
    >>> import numpy as np
    >>> from tfplugin import layers, optimizers
    >>> model = keras.Sequential([
    ...     keras.Input((), dtype="int64"),
    ...     layers.Embedding(5, 2), keras.layers.Dense(1),
    ... ])
    >>> model.compile(optimizers.split(
    ...     model, tables=optimizers.RowwiseAdagrad(0.05),
    ...     rest=keras.optimizers.Adam(1e-3),
    ... ), "mse")
    >>> sets = TableSets(2)
    >>> history = model.fit(  # sets 0, 1, 0
    ...     np.arange(4), np.ones(4), epochs=3, verbose=0, callbacks=[sets],
    ... )
    >>> sets.active_set
    0

    Reference: Fan et al., "Multi-epoch learning with data augmentation for
    deep click-through rate prediction" (MEDA-C), arXiv 2407.01607.
    """

    def __init__(
        self,
        num_sets: int,
        passes_per_chunk: int | None = None,
        seed: int = 0,
        layers: Sequence[keras.Layer] | None = None,
    ) -> None:
        super().__init__()
        if num_sets < 2:
            raise ValueError(
                "`num_sets` must be at least 2: the model has one anyway. "
                f"Received: num_sets={num_sets}."
            )
        passes = num_sets if passes_per_chunk is None else passes_per_chunk
        if passes < num_sets:
            raise ValueError(
                "`passes_per_chunk` must be at least `num_sets`, or a set is "
                f"never trained. Received: passes_per_chunk={passes_per_chunk}"
                f", num_sets={num_sets}."
            )
        if seed < 0:
            raise ValueError(
                f"`seed` must be at least 0. Received: seed={seed}."
            )
        self.num_sets = num_sets
        self.passes_per_chunk = passes
        self.seed = seed
        self.layers = None if layers is None else list(layers)
        self.trackables: dict[str, Any] = {}
        self._tables: list[tuple[int, Any]] = []
        self._pairs: list[list[tuple[Any, tf.Variable]]] = []
        self._built_for: tuple[Any, ...] = ()
        # The set in the model, then that in each place aside.
        self._held = tf.Variable(
            [0] + [_UNUSED] * (num_sets - 1), dtype=tf.int64, trainable=False
        )

    @property
    def active_set(self) -> int:
        """The number, from 0, of the set that the model has now."""
        return int(self._held[0].numpy())

    def build(self, model: keras.Model) -> None:
        """Makes the places for the sets aside; training does so if need be.

        Call it before a checkpoint of `trackables` is made or restored.

        Args:
            model: Built and compiled.

        Raises:
            ValueError: See the class.
        """
        optimizer = model.optimizer
        if self._built_for:
            self._refuse_others(model)
            return
        resettable_tables.require_methods(
            optimizer,
            "TableSets",
            ["reset_state", "state_variables"],
            "since each set has slots of its own",
        )
        if self.layers is None:
            resettable_tables.refuse_fixed(model, "TableSets")
        self._tables = resettable_tables.choose(model, self.layers)
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        inside = [
            variable
            for _, layer in self._tables
            for variable in (
                layer.embeddings,
                *optimizer.state_variables(layer.embeddings),
            )
        ]
        self._pairs = [
            [(variable, _like(variable)) for variable in inside]
            for _ in range(self.num_sets - 1)
        ]
        self._built_for = (model, optimizer)
        self.trackables = {
            "table_sets_held": self._held,
            "table_sets_aside": [
                aside for pairs in self._pairs for _, aside in pairs
            ],
        }

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the places for the sets aside, if `build` did not yet."""
        self.build(self.model)

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Brings the set of `epoch`, from 0, into the model."""
        wanted = epoch % self.passes_per_chunk % self.num_sets
        held = self._held.numpy().tolist()
        if held[0] == wanted:
            return
        is_new = wanted not in held
        place = held.index(_UNUSED if is_new else wanted)
        for inside, aside in self._pairs[place - 1]:
            _swap(_native(inside), aside)
        held[0], held[place] = wanted, held[0]
        self._held.assign(held)
        if not is_new:
            return
        for position, layer in self._tables:
            self.model.optimizer.reset_state(layer.embeddings)
            layer.reset_embeddings(
                embedding_reset.table_seed(self.seed, epoch, position)
            )

    def _refuse_others(self, model: keras.Model) -> None:
        built_for = (model, model.optimizer)
        same = [a is b for a, b in zip(self._built_for, built_for, strict=True)]
        if all(same):
            return
        what = "optimizer" if same[0] else "model"
        raise ValueError(
            "One TableSets object is for one model and one optimizer, whose "
            f"tables and slots it keeps aside. Received: model={model.name!r}, "
            f"with another {what} than before. Make a new one for it."
        )


def _native(variable: Any) -> tf.Variable:
    return variable if isinstance(variable, tf.Variable) else variable.value


def _like(variable: Any) -> tf.Variable:
    """A variable of zeros of the same shape and dtype."""
    shape = tuple(variable.shape)
    dtype = _native(variable).dtype
    return tf.Variable(tf.zeros(shape, dtype), trainable=False)


def _swap(one: tf.Variable, other: tf.Variable) -> None:
    """Exchanges the values of two variables, block by block."""
    if not one.shape.rank:
        value = tf.constant(one.numpy())
        one.assign(tf.constant(other.numpy()))
        other.assign(value)
        return
    for start in range(0, one.shape[0], _BLOCK_ROWS):
        rows = tf.range(start, min(start + _BLOCK_ROWS, one.shape[0]))
        ours, theirs = tf.gather(one, rows), tf.gather(other, rows)
        one.scatter_update(tf.IndexedSlices(theirs, rows))
        other.scatter_update(tf.IndexedSlices(ours, rows))
