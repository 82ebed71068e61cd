"""Numbers to inputs of a dense layer, with an answer to missing values."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_TRANSFORMS = ("standardize", "log1p", "quantile_buckets")


@keras.saving.register_keras_serializable(package="tfplugin")
class DenseFeature(keras.layers.Layer):
    """Transforms one numeric feature; missing values become zeros.

    The columns of the output, in the order of `transforms`:

        standardize       (x - mean) / standard_deviation
        log1p             (sign(x) log(1 + |x|) - log_mean)
                          / log_standard_deviation
        quantile_buckets  one 0/1 column a bucket, len(boundaries) + 1 of them;
                          bucket k holds boundaries[k-1] <= x < boundaries[k]

    and, with `missing_indicator`, a last column that is 1 where the value is
    missing. NaN is missing; so is an infinite value, which no log means. A
    missing value is 0 after a transform, and in no bucket. A standard
    deviation of 0 (a constant feature) counts as 1.

    Args:
        transforms: Some of the names above, each at most once.
        mean: Of the feature.
        standard_deviation: Of the feature, at least 0.
        log_mean: Of sign(x) log(1 + |x|).
        log_standard_deviation: Of sign(x) log(1 + |x|), at least 0.
        boundaries: Ascending; needed by `quantile_buckets`.
        missing_indicator: Whether to add the last column.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        values: Numbers, shape (batch_size,) or (batch_size, 1).

    Returns:
        Tensor of shape (batch_size, `num_columns`) in the compute dtype.

    Raises:
        ValueError: An argument or the shape of `values` is not as above.

    Example:
    >>> layer = DenseFeature(("standardize", "quantile_buckets"), mean=1.0,
    ...                      standard_deviation=2.0, boundaries=(0.0, 4.0))
    >>> layer(tf.constant([5.0, float("nan")])).numpy()
    array([[2., 0., 0., 1., 0.],
           [0., 0., 0., 0., 1.]], dtype=float32)
    """

    def __init__(
        self,
        transforms: Sequence[str] = ("standardize",),
        mean: float = 0.0,
        standard_deviation: float = 1.0,
        log_mean: float = 0.0,
        log_standard_deviation: float = 1.0,
        boundaries: Sequence[float] = (),
        missing_indicator: bool = True,
        **kwargs: Any,
    ) -> None:
        # At mixed precision Keras would round the raw value on entry: 10,001
        # would become 9,984 before its mean of 10,000 is subtracted.
        super().__init__(autocast=False, **kwargs)
        self.transforms = tuple(transforms)
        self.mean = float(mean)
        self.standard_deviation = float(standard_deviation)
        self.log_mean = float(log_mean)
        self.log_standard_deviation = float(log_standard_deviation)
        self.boundaries = tuple(float(b) for b in boundaries)
        self.missing_indicator = missing_indicator
        self._check_transforms()
        self._check_statistics()
        self.built = True

    @property
    def num_columns(self) -> int:
        """The number of columns of the output."""
        widths = {"quantile_buckets": len(self.boundaries) + 1}
        transformed = sum(widths.get(name, 1) for name in self.transforms)
        return transformed + int(self.missing_indicator)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Transforms the values; see the class."""
        self._check_shape(values)
        values = tf.reshape(tf.cast(values, tf.float32), (-1, 1))
        present = tf.math.is_finite(values)
        # NaN times 0 is NaN, so that missing values are replaced first.
        values = tf.where(present, values, tf.zeros_like(values))
        columns = [self._transform(name, values) for name in self.transforms]
        columns = [tf.where(present, c, tf.zeros_like(c)) for c in columns]
        if self.missing_indicator:
            columns.append(tf.cast(~present, tf.float32))
        return tf.cast(tf.concat(columns, axis=1), self.compute_dtype)

    def compute_output_spec(self, values: Any) -> keras.KerasTensor:
        """Says shape and dtype of the output."""
        self._check_shape(values)
        return keras.KerasTensor(
            (values.shape[0], self.num_columns), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "transforms": list(self.transforms),
            "mean": self.mean,
            "standard_deviation": self.standard_deviation,
            "log_mean": self.log_mean,
            "log_standard_deviation": self.log_standard_deviation,
            "boundaries": list(self.boundaries),
            "missing_indicator": self.missing_indicator,
        }

    def _transform(self, name: str, values: tf.Tensor) -> tf.Tensor:
        if name == "standardize":
            return (values - self.mean) / (self.standard_deviation or 1.0)
        if name == "log1p":
            logs = tf.sign(values) * tf.math.log1p(tf.abs(values))
            return (logs - self.log_mean) / (self.log_standard_deviation or 1.0)
        boundaries = tf.constant(self.boundaries, tf.float32)
        buckets = tf.searchsorted(boundaries, values[:, 0], side="right")
        return tf.one_hot(buckets, len(self.boundaries) + 1)

    def _check_shape(self, values: Any) -> None:
        shape = tuple(values.shape)
        if len(shape) != 1 and shape[1:] != (1,):
            raise ValueError(
                f"Values of {self.name!r} must have shape (batch_size,) or "
                f"(batch_size, 1). Received: values.shape={shape}"
            )

    def _check_transforms(self) -> None:
        unknown = set(self.transforms) - set(_TRANSFORMS)
        twice = len(set(self.transforms)) != len(self.transforms)
        if unknown or twice or not self.num_columns:
            raise ValueError(
                f"`transforms` must be some of {_TRANSFORMS}, each once. "
                f"Received: transforms={self.transforms}"
            )
        if "quantile_buckets" in self.transforms and not self.boundaries:
            raise ValueError(
                "`boundaries` must be given for 'quantile_buckets'. "
                f"Received: boundaries={self.boundaries}"
            )

    def _check_statistics(self) -> None:
        if list(self.boundaries) != sorted(self.boundaries):
            raise ValueError(
                "`boundaries` must ascend. "
                f"Received: boundaries={self.boundaries}"
            )
        deviations = (self.standard_deviation, self.log_standard_deviation)
        numbers = (self.mean, self.log_mean, *deviations, *self.boundaries)
        if min(deviations) < 0 or not np.all(np.isfinite(numbers)):
            raise ValueError(
                "Statistics must be finite, standard deviations at least 0. "
                f"Received: mean={self.mean}, log_mean={self.log_mean}, "
                f"standard_deviation={self.standard_deviation}, "
                f"log_standard_deviation={self.log_standard_deviation}, "
                f"boundaries={self.boundaries}"
            )
