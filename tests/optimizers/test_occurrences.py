"""Optimizers that count a repeated id of a list, built early or late."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfplugin import kernels
from tfplugin import layers
from tfplugin import optimizers

RATIO = 0.3
IDS = [[1, 1, 1], [2], [], [5, 1]]


@pytest.fixture(params=["operators", "kernel"])
def path(request):
    """Runs a test on either path of a layer and an update."""
    if request.param == "kernel" and kernels.library() is None:
        pytest.skip(kernels.status().reason)
    kernel = request.param == "kernel"
    with contextlib.nullcontext() if kernel else kernels.fallback():
        yield


def _layer():
    normal = keras.initializers.RandomNormal(stddev=0.1, seed=1)
    return layers.Embedding(
        9, 4, combiner="sum", embeddings_initializer=normal, name="table"
    )


def _graph(layer):
    inputs = keras.Input((None,), dtype="int64", ragged=True)
    dense = keras.layers.Dense(1, kernel_initializer="ones")
    return keras.Model(inputs, dense(layer(inputs)))


class Late(keras.Model):
    """Has no table before its first step."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.dense = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, ids, training=None):
        return self.dense(self.layer(ids, training=training))


def _batch():
    ids = tf.ragged.constant(IDS, dtype=tf.int64)
    return ids, np.full((4, 1), 100.0, "float32")


def _steps(table, before):
    """Norms of the steps of rows, in units of what one occurrence may."""
    norms = np.linalg.norm(table.numpy() - before, axis=1)
    return norms / (RATIO * np.linalg.norm(before, axis=1))


@pytest.mark.parametrize("how", ["fit", "eager", "override"])
def test_each_occurrence_in_a_list_counts_before_anything_is_built(path, how):
    layer = _layer()
    model = _graph(layer)
    clipped = optimizers.SparseSGD(1.0, cow_clip_ratio=RATIO)
    overrides = None
    if how == "override":
        clipped, overrides = optimizers.SparseSGD(1.0), {"table": clipped}
    optimizer = optimizers.split(
        model,
        tables=clipped,
        rest=keras.optimizers.SGD(0.0),
        overrides=overrides,
    )
    model.compile(optimizer, "mse", run_eagerly=how == "eager")
    before = layer.embeddings.numpy()
    model.train_on_batch(*_batch())
    # Row 1 may move by 4 ratios of its norm, being 4 times in the batch.
    steps = _steps(layer.embeddings, before)
    np.testing.assert_allclose(steps[[1, 2, 5]], [4, 1, 1], rtol=1e-5)


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graph"])
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "split"])
def test_built_too_late_is_refused_and_built_in_time_counts(path, bare, eager):
    layer = _layer()
    model = _graph(layer) if bare else Late(layer)
    optimizer = clipped = optimizers.SparseSGD(1.0, cow_clip_ratio=RATIO)
    if not bare:
        optimizer = optimizers.split(
            model, tables=clipped, rest=keras.optimizers.SGD(0.0)
        )
    model.compile(optimizer, "mse", run_eagerly=eager)
    with pytest.raises(ValueError, match="must be built before the first"):
        model.train_on_batch(*_batch())
    # Keras cannot go on with a step that failed as it was traced.
    model.compile(optimizer, "mse", run_eagerly=eager)
    before = layer.embeddings.numpy()
    model.train_on_batch(*_batch())
    steps = _steps(layer.embeddings, before)
    np.testing.assert_allclose(steps[[1, 2, 5]], [4, 1, 1], rtol=1e-5)


def test_late_is_no_matter_where_nothing_was_summed():
    model = keras.Sequential(
        [
            keras.Input((), dtype="int64"),
            layers.Embedding(9, 4),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizers.SparseSGD(1.0, cow_clip_ratio=RATIO), "mse")
    model.train_on_batch(np.array([1, 1, 5]), np.full((3, 1), 100.0))
    # Nor where nobody counts.
    model = Late(_layer())
    model.compile(optimizers.SparseSGD(1.0), "mse")
    model.train_on_batch(*_batch())


def test_another_optimizer_later_finds_nothing_stale():
    layer = _layer()
    model = _graph(layer)
    model.compile(optimizers.SparseSGD(0.0), "mse")
    model.train_on_batch(*_batch())  # sums in the layer
    model.compile(
        optimizers.split(
            model,
            tables=optimizers.SparseSGD(1.0, cow_clip_ratio=RATIO),
            rest=keras.optimizers.SGD(0.0),
        ),
        "mse",
    )
    before = layer.embeddings.numpy()
    model.train_on_batch(*_batch())
    assert _steps(layer.embeddings, before)[1] == pytest.approx(4, rel=1e-5)
