"""Fills embedding tables with random rows, a chunk at a time.

A stock initializer needs several times a table's memory; here chunks of 65,536
rows are drawn and scattered, one a processor at a time. NumPy draws them:
TensorFlow's normal numbers cost half as much again.
"""

import os
from collections.abc import Callable
from concurrent import futures
from typing import Any

import keras
import numpy as np
import tensorflow as tf

#: Rows drawn at a time. Part of what a seed means: another value draws other
#: numbers.
CHUNK_ROWS = 65_536

_Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def fill_rows(
    table: tf.Variable,
    initializer: keras.initializers.Initializer,
    seed: int,
    num_zero_rows: int = 0,
) -> None:
    """Draws every row of a table anew, in place and in chunks.

    Chunk c, rows 65,536 c to 65,536 (c + 1) - 1, is drawn from (seed, c)
    alone, so a table depends on its seed, its initializer, its size and
    NumPy's version, and not on what was drawn before or on the number of
    processors. The initializer's own seed is not used.

    Args:
        table: Shape (rows, dim), floating; mirrored copies get equal rows.
        initializer: RandomNormal, RandomUniform, TruncatedNormal, Zeros or
            Constant of `keras.initializers`.
        seed: At least 0.
        num_zero_rows: The first rows that become zero instead.

    Raises:
        ValueError: Another initializer, or a negative seed.

    Example:
    >>> table = tf.Variable(tf.ones((3, 2)))
    >>> fill_rows(table, keras.initializers.Constant(0.5), 0, num_zero_rows=1)
    >>> table.numpy().tolist()
    [[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]]
    """
    num_rows, dim = table.shape
    draw_chunk = _chunk_function(
        (num_rows, dim), initializer, seed, num_zero_rows
    )
    copies = tf.distribute.get_strategy().experimental_local_results(table)

    def fill_chunk(chunk: int) -> None:
        # A thread of its own is neither in the caller's graph nor in its
        # strategy, as if in `tf.init_scope`.
        values = draw_chunk(chunk)
        rows = np.arange(len(values), dtype=np.int64) + chunk * CHUNK_ROWS
        slices = tf.IndexedSlices(
            tf.cast(tf.constant(values), table.dtype), tf.constant(rows)
        )
        for copy in copies:
            copy.scatter_update(slices)

    num_chunks = -(-num_rows // CHUNK_ROWS)
    workers = max(1, min(num_chunks, len(os.sched_getaffinity(0))))
    with futures.ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(fill_chunk, range(num_chunks)):
            pass


def draw_rows(
    shape: tuple[int, int],
    initializer: keras.initializers.Initializer,
    seed: int,
    num_zero_rows: int = 0,
) -> tf.Tensor:
    """Draws the rows `fill_rows` fills a table with, all at once.

    Args:
        shape: Rows and length of a row.
        initializer: See `fill_rows`.
        seed: At least 0.
        num_zero_rows: See `fill_rows`.

    Returns:
        float32 tensor of that shape.

    Raises:
        ValueError: See `fill_rows`.

    Example:
    >>> rows = draw_rows((2, 1), keras.initializers.Constant(3.0), seed=0)
    >>> rows.numpy().tolist()
    [[3.0], [3.0]]
    """
    draw_chunk = _chunk_function(shape, initializer, seed, num_zero_rows)
    num_chunks = -(-shape[0] // CHUNK_ROWS)
    return tf.constant(
        np.concatenate([draw_chunk(chunk) for chunk in range(num_chunks)])
    )


def draw_function(initializer: keras.initializers.Initializer) -> _Draw:
    """Returns the chunked counterpart of a Keras initializer.

    Args:
        initializer: See `fill_rows`.

    Returns:
        A function of a generator and a shape that draws float32 values.

    Raises:
        ValueError: The initializer has no chunked counterpart.

    Example:
    >>> draw = draw_function(keras.initializers.Constant(2.0))
    >>> draw(np.random.default_rng(0), (1, 2)).tolist()
    [[2.0, 2.0]]
    """
    kind: Any = type(initializer)
    config = initializer.get_config()
    if kind is keras.initializers.Zeros:
        return lambda rng, shape: np.zeros(shape, np.float32)
    if kind is keras.initializers.Constant:
        value = float(config["value"])
        return lambda rng, shape: np.full(shape, value, np.float32)
    if kind is keras.initializers.RandomUniform:
        low, high = config["minval"], config["maxval"]
        return lambda rng, shape: _scaled(
            rng.random(shape, np.float32), high - low, low
        )
    if kind is keras.initializers.RandomNormal:
        return lambda rng, shape: _scaled(
            rng.standard_normal(shape, np.float32),
            config["stddev"],
            config["mean"],
        )
    if kind is keras.initializers.TruncatedNormal:
        return lambda rng, shape: _scaled(
            _truncated(rng, shape), config["stddev"], config["mean"]
        )
    raise ValueError(
        "`embeddings_initializer` must be RandomNormal, RandomUniform, "
        "TruncatedNormal, Zeros or Constant: others need the whole table at "
        f"once. Received: embeddings_initializer={initializer!r}"
    )


def _scaled(values: np.ndarray, scale: float, shift: float) -> np.ndarray:
    values *= np.float32(scale)
    if shift:
        values += np.float32(shift)
    return values


def _truncated(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Normal numbers; those beyond two deviations are drawn again."""
    values = rng.standard_normal(shape, np.float32)
    beyond = np.abs(values) > 2
    while beyond.any():
        values[beyond] = rng.standard_normal(beyond.sum(), np.float32)
        beyond = np.abs(values) > 2
    return values


def _chunk_function(
    shape: tuple[int, int],
    initializer: keras.initializers.Initializer,
    seed: int,
    num_zero_rows: int,
) -> Callable[[int], np.ndarray]:
    """Returns a function from a chunk's number to its rows."""
    draw = draw_function(initializer)
    num_rows, dim = shape

    def draw_chunk(chunk: int) -> np.ndarray:
        start = chunk * CHUNK_ROWS
        size = min(CHUNK_ROWS, num_rows - start)
        rng = np.random.Generator(
            np.random.SFC64(np.random.SeedSequence([seed, chunk]))
        )
        values = draw(rng, (size, dim))
        values[: max(0, num_zero_rows - start)] = 0.0
        return values

    return draw_chunk
