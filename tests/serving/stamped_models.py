"""Small models whose answers say which version and which row they are of."""

import os
import shutil
import tempfile

import numpy as np
import tensorflow as tf


class Stamp(tf.Module):
    """Returns its version, the row's `x`, and the sum of the row's list."""

    def __init__(self, version):
        super().__init__()
        self.version = tf.Variable(version, dtype=tf.int64)
        self.cities = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["Roma"], [7.0]), 0.0
        )

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "x"),
            tf.TensorSpec([None], tf.string, "city"),
            tf.TensorSpec([None, None], tf.int64, "tags"),
            tf.TensorSpec([None], tf.int64, "tags_length"),
        ]
    )
    def __call__(self, x, city, tags, tags_length):
        width = tf.shape(tags, tf.int64)[1]
        legal = tf.reduce_all((x >= 0) & (tags_length <= width))
        check = tf.debugging.Assert(legal, ["x must be positive", x])
        with tf.control_dependencies([check]):
            mask = tf.sequence_mask(tags_length, tf.shape(tags)[1])
        return {
            "x": tf.identity(x),
            "version": tf.zeros_like(x) + self.version,
            "total": tf.reduce_sum(tf.where(mask, tags, 0), axis=1),
            "city": self.cities.lookup(city),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.float32, "image"),
        ]
    )
    def brightness(self, image):
        return {"mean": tf.reduce_mean(image, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "scale")])
    def constant(self, scale):
        return {"y": scale * 2.0}


_SAVED = {}


def save(base, version, number=None):
    """Saves a version as a publisher does: written aside, then renamed."""
    if version not in _SAVED:
        model = Stamp(version)
        _SAVED[version] = tempfile.mkdtemp()
        tf.saved_model.save(
            model,
            _SAVED[version],
            {
                "serving_default": model.__call__,
                "brightness": model.brightness,
                "constant": model.constant,
            },
        )
    target = os.path.join(base, str(version if number is None else number))
    staging = os.path.join(base, f"staging-{version}")
    shutil.copytree(_SAVED[version], staging)
    os.rename(staging, target)
    return target


def rows(xs, width=3, seed=0):
    """Arrays of a request with these `x`."""
    generator = np.random.default_rng(seed)
    xs = np.asarray(xs, np.int64)
    cities = np.empty(len(xs), object)
    cities[:] = [b"Roma" if x % 2 else b"" for x in xs]
    return {
        "x": xs,
        "city": cities,
        "tags": generator.integers(1, 99, (len(xs), width)),
        "tags_length": generator.integers(0, width + 1, len(xs)),
    }


def check(inputs, outputs):
    """Compares an answer with NumPy's, but for the version."""
    mask = np.arange(inputs["tags"].shape[1]) < inputs["tags_length"][:, None]
    np.testing.assert_array_equal(outputs["x"], inputs["x"])
    np.testing.assert_array_equal(
        outputs["total"], (inputs["tags"] * mask).sum(1)
    )
    np.testing.assert_array_equal(
        outputs["city"], np.where(inputs["x"] % 2, 7.0, 0.0)
    )
