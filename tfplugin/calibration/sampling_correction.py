"""From logits of a log with fewer negatives to logits of the whole log."""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

Logits = Mapping[str, tf.Tensor]

#: A probability is at most 1 - this: where it is an estimate it might not be.
_MARGIN = 2.0**-20


def undo_sampling(
    logits: Logits,
    labels: Sequence[str],
    rate: float,
    outside: Mapping[str, float] | None = None,
    unaffected: Sequence[str] = (),
) -> dict[str, tf.Tensor]:
    """Logits of the whole log, from those of one with fewer negatives.

    A row was kept where one of `labels` is 1 (A), and with probability q
    otherwise. Given the features, a kept row thus has, for each objective o,

        p_o = (P(o, A) + q P(o, not A)) / Z,    Z = P(A) + q (1 - P(A))

    By p_A on the kept rows, Z = q / (1 - p_A + p_A q) = q + (1 - q) P(A).
    With s the share of the kept positives of o that are not in A,

        P(o) = p_o Z (1 + s (1 / q - 1))

    What is exact: every objective that implies A (s = 0), so each of
    `labels` and what follows on one of them; for a single label it is
    p q / (1 - p + p q), the logit plus log q. For another objective s is
    taken to be the same for all rows; s = 1 is exact too. p_A is the largest
    p of `labels`: right for one label and for nested ones, and too small
    where different labels are 1 in different rows, at most by their number
    for P(A); P(o) is then too small by at most the share that Z is.

    In logits, with a that of p_A, and s = 0,

        z + log q + log(1 + e^a) - log(1 + (1 - q) e^z + q e^a)

    whose terms are sums of positive numbers, so float32 is enough.

    Args:
        logits: Objective to float logits of any shape, the same for all.
        labels: The labels by which negatives were sampled, of `logits`.
        rate: The share q of negatives that was kept, in (0, 1].
        outside: Objective to its s; 0 where absent.
        unaffected: Objectives that are observed only in rows that were all
            kept, as a purchase that is defined for clicks: unchanged.

    Returns:
        Objective to float32 logits of the same shape.

    Example:
    >>> undone = undo_sampling({"click": tf.constant([0.0])}, ["click"], 0.1)
    >>> round(float(tf.sigmoid(undone["click"])[0]), 4)
    0.0909

    Reference: He et al., "Practical lessons from predicting clicks on ads at
    Facebook", ADKDD 2014, section 6.3, for a single label.
    """
    outside = outside or {}
    floats = {name: tf.cast(z, tf.float32) for name, z in logits.items()}
    any_label = floats[labels[0]]
    for label in labels[1:]:
        any_label = tf.maximum(any_label, floats[label])
    undone = {}
    for name, z in floats.items():
        if name in unaffected or rate == 1.0:
            undone[name] = z
        elif [name] == list(labels):
            undone[name] = z + math.log(rate)
        elif outside.get(name, 0.0) == 0.0:
            undone[name] = _of_kept(z, any_label, rate)
        else:
            undone[name] = _of_any(z, any_label, rate, outside[name])
    return undone


def _of_kept(z: tf.Tensor, any_label: tf.Tensor, rate: float) -> tf.Tensor:
    """The logit of an objective whose positives were all kept."""
    below = _log_add(
        _log_add(tf.zeros_like(z), z + math.log1p(-rate)),
        any_label + math.log(rate),
    )
    return z + math.log(rate) + tf.nn.softplus(any_label) - below


def _of_any(
    z: tf.Tensor, any_label: tf.Tensor, rate: float, outside: float
) -> tf.Tensor:
    """The logit of an objective that negatives may hold."""
    log_kept = (
        math.log(rate)
        + tf.nn.softplus(any_label)
        - tf.nn.softplus(any_label + math.log(rate))
    )
    factor = math.log1p(outside * (1.0 / rate - 1.0))
    log_p = tf.math.log_sigmoid(z) + log_kept + factor
    log_p = tf.minimum(log_p, math.log1p(-_MARGIN))
    return log_p - tf.math.log(-tf.math.expm1(log_p))


def _log_add(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The logarithm of e^one + e^other."""
    return tf.maximum(one, other) + tf.math.log1p(tf.exp(-tf.abs(one - other)))


@keras.saving.register_keras_serializable(package="tfplugin")
class SamplingCorrection(keras.layers.Layer):
    """Undoes the sampling of negatives wherever a model does not train.

    The last layer of a model that is trained on a log with fewer negatives:
    while it trains it passes logits on as they are, so losses, gradients and
    metrics are of the rows it sees; in `evaluate`, `predict` and an export
    its logits are of the whole log. It has no weights.

    Args:
        labels: See `undo_sampling`.
        rate: See `undo_sampling`.
        outside: See `undo_sampling`.
        unaffected: See `undo_sampling`.
        **kwargs: Of `keras.layers.Layer`. The dtype is float32, also under a
            policy of mixed precision.

    Raises:
        ValueError: There is no label, or a number lies outside of its range.

    Example:
    >>> layer = SamplingCorrection(labels=["click"], rate=0.5)
    >>> logits = {"click": tf.constant([[0.0]])}
    >>> round(float(layer(logits, training=False)["click"][0, 0]), 4)
    -0.6931
    >>> float(layer(logits, training=True)["click"][0, 0])
    0.0
    """

    def __init__(
        self,
        labels: Sequence[str],
        rate: float,
        outside: Mapping[str, float] | None = None,
        unaffected: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if not labels or isinstance(labels, str):
            raise ValueError(
                "`labels` must name the labels that negatives were sampled "
                f"by. Received: labels={labels!r}."
            )
        if not 0.0 < rate <= 1.0:
            raise ValueError(
                "`rate` must be a share of negatives, in (0, 1]. Received: "
                f"rate={rate}."
            )
        shares = dict(outside or {})
        if not all(0.0 <= share <= 1.0 for share in shares.values()):
            raise ValueError(
                "`outside` must be shares, in [0, 1], by objective. Received: "
                f"outside={shares}."
            )
        self.labels = list(labels)
        self.rate = float(rate)
        self.outside = shares
        self.unaffected = list(unaffected)

    def call(
        self, logits: Logits, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """Corrects a batch.

        Args:
            logits: Objective to float logits `(batch_size, 1)`.
            training: Whether the model trains.

        Returns:
            Objective to float32 logits of the same shape.
        """
        if training:
            return dict(logits)
        return undo_sampling(
            logits, self.labels, self.rate, self.outside, self.unaffected
        )

    def compute_output_shape(
        self, input_shape: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The shapes of the logits."""
        return dict(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "labels": self.labels,
            "rate": self.rate,
            "outside": self.outside,
            "unaffected": self.unaffected,
        }
