"""Rows and requests of tests/support/experiments.py's experiment."""

import numpy as np
import tensorflow as tf

from tests.support import experiments

ROWS = [
    *experiments.rows(20, seed=9),
    {"user": 10**15, "city": "nowhere", "tags": [], "price": None},
    {"user": None, "city": None, "tags": ["t0", "?", ""], "price": -3.0},
]


def raw(rows, width=None, padding="padding"):
    """Inputs of `serving_default`; lists padded to `width`."""
    width = width or max([len(r["tags"]) for r in rows] + [1])
    tags = [r["tags"] + [padding] * (width - len(r["tags"])) for r in rows]
    return {
        "user": tf.constant(
            [-(2**63) if r["user"] is None else r["user"] for r in rows],
            tf.int64,
        ),
        "city": tf.constant([r["city"] or "" for r in rows], tf.string),
        "tags": tf.reshape(tf.constant(tags, tf.string), [len(rows), width]),
        "tags_length": tf.constant([len(r["tags"]) for r in rows], tf.int64),
        "price": tf.constant(
            [np.nan if r["price"] is None else r["price"] for r in rows],
            tf.float32,
        ),
    }


def expected(model, rows):
    """Objective to the Keras model's probabilities, in float64."""
    inputs = raw(rows)
    lengths = inputs.pop("tags_length")
    features = inputs | {
        "tags": tf.RaggedTensor.from_tensor(inputs["tags"], lengths),
        "position": tf.ones([len(rows)], tf.int64),
    }
    logits = model(features, training=False)
    return {
        name: 1 / (1 + np.exp(-np.asarray(value)[:, 0].astype("float64")))
        for name, value in logits.items()
    }
