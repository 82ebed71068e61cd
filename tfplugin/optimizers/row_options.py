"""What acts on summed gradients and touched rows, whatever the rule."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

import tensorflow as tf

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import indexed_slices
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import table_state

_CLIPS = ("clip_value", "clip_row_norm", "clip_global_norm", "cow_clip_ratio")
_DECAYS = ("weight_decay", "adaptive_decay", "frequency_decay")

# A gradient as tapes give it; None where the loss does not reach a variable.
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None


@dataclasses.dataclass(frozen=True)
class RowOptions:
    """Weight decay and clipping of touched rows, for every rule.

    All of it acts after duplicate rows are summed, and on rows that the batch
    touched, all rows for a dense gradient; there is no sweep over a table. A
    NaN passes through clipping, as in Keras.

    Args:
        weight_decay: Decoupled decay `w -= rate_i * weight_decay * w`, before
            the rule, with the row's own rate. Defaults to None, none.
        compound_weight_decay: Whether a row also takes the decay of the steps
            in which it was absent: `w *= (1 - rate_i * weight_decay)^n`, where
            `n` counts the updates of the table since the row's last, this one
            included, at the rate of this step. Costs one state a row. Defaults
            to False.
        clip_value: Every element is limited to [-clip_value, clip_value].
            Defaults to None, no limit.
        clip_row_norm: A row whose Euclidean norm is above it is scaled down to
            it. Defaults to None, no limit.
        clip_global_norm: If the norm of all gradients of one call of `apply`
            is above it, all are scaled so that it is that. Defaults to None.
        adaptive_decay: Adaptive regularisation of strength `alpha` a step,
            before the rule and whatever the rate: `w *= max(1 - lambda, kept)`
            with `lambda = min(1, alpha * absent)`, where `absent` counts the
            updates of the table between the row's last and this one. A row
            never touched, or not since a reset, is not decayed: its first
            values remember nothing. Costs one state a row. Defaults to None.
        adaptive_decay_kept: Least share that `adaptive_decay` leaves of a row,
            in [0, 1]. Defaults to 0.0; FBGEMM has 0.1.
        cow_clip_ratio: CowClip: the gradient of a row of norm `|w|` and length
            D that occurs `n` times in the batch is scaled down to the norm
            `ratio * n * max(|w|, ratio * sqrt(D) * bound)`; `|w|` is that
            before any decay, and in a dense gradient each row occurs once.
            Defaults to None, no limit.
        cow_clip_bound: The `bound` in it, above 0. Defaults to 1e-5.
        frequency_decay: Decoupled decay that is weaker the more often a row
            occurs in the training data: `w -= rate_i * frequency_decay / F_i *
            w` with the row's own rate and its count `F_i`, taken for 1 where
            it is less. Special rows have their own counts too. Needs row
            counts, whether or not a row rate reads them; variables without
            rows, of less than two axes, are left alone. Defaults to None.

    Raises:
        ValueError: If a number is negative or not finite, a limit is 0, more
            than one clipping is asked for, a decay is to be compounded that
            is not given, or beside `adaptive_decay`.

    Example:
    >>> options = RowOptions(clip_row_norm=1.0)
    >>> options.clip(tf.constant([[3.0, 4.0], [0.0, 0.5]])).numpy().round(4)
    array([[0.6, 0.8],
           [0. , 0.5]], dtype=float32)

    References: decoupled decay is Loshchilov and Hutter,
    https://arxiv.org/abs/1711.05101; adaptive decay is
    https://arxiv.org/abs/2511.06374, its `kept` the `min_shrinkage` of FBGEMM's
    ROWWISE_RMSPROP_AR; CowClip is https://arxiv.org/abs/2204.06240; decay by
    frequency is the mini-batch aware regularisation of DIN,
    https://arxiv.org/abs/1706.06978, decoupled.
    """

    weight_decay: float | None = None
    compound_weight_decay: bool = False
    clip_value: float | None = None
    clip_row_norm: float | None = None
    clip_global_norm: float | None = None
    adaptive_decay: float | None = None
    adaptive_decay_kept: float = 0.0
    cow_clip_ratio: float | None = None
    cow_clip_bound: float = 1e-5
    frequency_decay: float | None = None

    def __post_init__(self) -> None:
        """Checks the arguments."""
        given = {
            name: value
            for name in (*_DECAYS, *_CLIPS, "cow_clip_bound")
            if (value := getattr(self, name)) is not None
        }
        constructor_checks.require_not_negative(**given)
        self._check_clips({k: given[k] for k in _CLIPS if k in given})
        self._check_decays()

    def _check_clips(self, clips: dict[str, float]) -> None:
        limits = {**clips, "cow_clip_bound": self.cow_clip_bound}
        for name, value in limits.items():
            if value == 0.0:
                raise ValueError(
                    f"`{name}` must be above 0, or no row would learn. "
                    f"Received: {name}={value}. Leave it out for no clipping."
                )
        if len(clips) > 1:
            raise ValueError(
                f"At most one of {', '.join(f'`{name}`' for name in _CLIPS)} "
                "may be set. Received: "
                + ", ".join(f"{name}={value}" for name, value in clips.items())
            )

    def _check_decays(self) -> None:
        if not 0.0 <= self.adaptive_decay_kept <= 1.0:
            raise ValueError(
                "`adaptive_decay_kept` must be a share in [0, 1]. Received: "
                f"adaptive_decay_kept={self.adaptive_decay_kept}"
            )
        if not self.compound_weight_decay:
            return
        if not self.weight_decay:
            raise ValueError(
                "`compound_weight_decay` needs `weight_decay` above 0. "
                f"Received: weight_decay={self.weight_decay}"
            )
        if self.adaptive_decay:
            raise ValueError(
                "`compound_weight_decay` and `adaptive_decay` would decay a "
                "row twice for the same absent steps. Received: "
                f"adaptive_decay={self.adaptive_decay}. Leave one out."
            )

    @property
    def decays(self) -> bool:
        """Whether touched rows are decayed."""
        return any(getattr(self, name) for name in _DECAYS)

    @property
    def uses_weights(self) -> bool:
        """Whether the rows are read before they are written."""
        return self.decays or self.counts_occurrences

    @property
    def uses_last_step(self) -> bool:
        """Whether the steps since a row's last update are read."""
        return self.compound_weight_decay or bool(self.adaptive_decay)

    @property
    def needs_counts(self) -> bool:
        """Whether the counts of the rows are read."""
        return bool(self.frequency_decay)

    @property
    def counts_occurrences(self) -> bool:
        """Whether it matters how often a row occurs in the batch."""
        return self.cow_clip_ratio is not None

    def clip(
        self,
        gradient: tf.Tensor,
        weights: tf.Tensor | None = None,
        occurrences: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Limits the values or norms of rows.

        Args:
            gradient: Float `(n, ...)`, distinct rows.
            weights: The same shape, the rows now; read by CowClip alone.
            occurrences: Integers `(n,)`, how often each row is in the batch;
                None for once. Read by CowClip alone.

        Returns:
            The same shape; the gradient itself if no limit is set.
        """
        if self.clip_value is not None:
            return tf.clip_by_value(gradient, -self.clip_value, self.clip_value)
        limit: float | tf.Tensor
        if self.clip_row_norm is not None:
            limit = self.clip_row_norm
        elif self.cow_clip_ratio is not None:
            limit = _cow_clip_limit(
                self.cow_clip_ratio, self.cow_clip_bound, weights, occurrences
            )
        else:
            return gradient
        return gradient * (limit / tf.maximum(_row_norms(gradient), limit))

    def decay(
        self,
        weights: tf.Tensor,
        rate: tf.Tensor,
        clock: table_state.Clock,
        counts: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Decays touched rows.

        Args:
            weights: Float `(n, ...)`.
            rate: Scalar or `(n, 1)`, the rate of each row.
            clock: Of this update; `skipped` is read to compound, and with
                `step` for adaptive decay.
            counts: `(n, 1)`, in the dtype of the weights; None without rows.

        Returns:
            The weights after decay, or as they are without one.
        """
        if self.adaptive_decay:
            absent = _absent_steps(clock.step, clock.skipped)
            lost = tf.minimum(1.0, self.adaptive_decay * absent)
            weights *= tf.maximum(1.0 - lost, self.adaptive_decay_kept)
        if self.weight_decay:
            kept = 1.0 - rate * self.weight_decay
            if self.compound_weight_decay:
                kept = tf.pow(kept, clock.skipped)
            weights *= kept
        if self.frequency_decay and counts is not None:
            share = self.frequency_decay / tf.maximum(counts, 1.0)
            weights *= 1.0 - rate * share
        return weights

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return dataclasses.asdict(self)


def reads_counts(
    row_rate: row_rates.RowRate | None, options: RowOptions
) -> bool:
    """Whether anybody reads how often the rows of a table occur.

    Args:
        row_rate: The rate of rows, or None.
        options: What acts on touched rows.

    Example:
    >>> reads_counts(None, RowOptions())
    False
    >>> reads_counts(None, RowOptions(frequency_decay=0.1))
    True
    """
    by_rate = row_rate is not None and row_rate.needs_counts
    return by_rate or options.needs_counts


def clip_by_global_norm(
    gradients: Sequence[Gradient], limit: float
) -> list[Gradient]:
    """Scales gradients so that their common norm is at most `limit`.

    The norm is that of the gradients with duplicate rows summed, so that the
    result does not depend on how often a row is in a batch. Where it is NaN or
    infinite, all gradients become NaN, as with Keras's `global_clipnorm`.

    Args:
        gradients: Tensors, IndexedSlices and None.
        limit: The largest norm, above 0.

    Returns:
        As given, scaled; float32 at least.

    Example:
    >>> slices = tf.IndexedSlices(tf.ones((4, 1)), tf.constant([7, 7, 7, 7]))
    >>> scaled = clip_by_global_norm([slices, tf.constant([3.0]), None], 1.0)
    >>> scaled[0].values.numpy()[:, 0].round(4)
    array([0.2, 0.2, 0.2, 0.2], dtype=float32)
    >>> scaled[1].numpy().round(4), scaled[2]
    (array([0.6], dtype=float32), None)
    """
    squares = [
        tf.reduce_sum(tf.square(_summed(gradient)))
        for gradient in gradients
        if gradient is not None
    ]
    norm = tf.sqrt(tf.add_n([tf.cast(one, tf.float64) for one in squares]))
    # The difference is 0 unless the norm is infinite.
    scale = limit / tf.maximum(norm, limit) + (norm - norm)
    return [_scaled(gradient, scale) for gradient in gradients]


def _row_norms(rows: tf.Tensor) -> tf.Tensor:
    axes = list(range(1, len(rows.shape)))
    return tf.sqrt(tf.reduce_sum(tf.square(rows), axes, keepdims=True))


def _cow_clip_limit(
    ratio: float, bound: float, weights: Any, occurrences: tf.Tensor | None
) -> tf.Tensor:
    least = ratio * math.sqrt(math.prod(weights.shape[1:])) * bound
    limit = ratio * tf.maximum(_row_norms(weights), least)
    if occurrences is None:
        return limit
    ones = [1] * (len(weights.shape) - 1)
    return limit * tf.reshape(tf.cast(occurrences, limit.dtype), [-1, *ones])


def _absent_steps(step: Any, skipped: Any) -> tf.Tensor:
    # A row never touched has skipped every step, and was not absent.
    return tf.where(skipped < step, skipped - 1.0, tf.zeros_like(skipped))


def _wide(dtype: tf.DType) -> tf.DType:
    return tf.float32 if dtype.size < 4 else dtype


def _summed(gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
    return indexed_slices.sum_gradient(gradient, _wide(gradient.dtype)).values


def _scaled(gradient: Gradient, scale: tf.Tensor) -> Gradient:
    if gradient is None:
        return None
    dtype = _wide(gradient.dtype)
    scale = tf.cast(scale, dtype)
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.cast(gradient.values, dtype) * scale
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.cast(gradient, dtype) * scale
