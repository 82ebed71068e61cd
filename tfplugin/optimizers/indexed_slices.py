"""The one place where duplicate rows of a gradient are summed."""

import tensorflow as tf


def sum_duplicates(
    slices: tf.IndexedSlices, dtype: tf.DType | str | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums the slices of equal rows, once and before any rule sees them.

    An id that occurs n times in a batch must give ONE row gradient, or an
    accumulator adds the sum of squares where it should add the square of the
    sum. Costs O(n), whatever the size of the table; `dense_shape` is not read.

    Args:
        slices: `indices` int32 or int64 `(n,)`, in any order, with or without
            duplicates, `n` may be 0; `values` float `(n, ...)`.
        dtype: Dtype to sum in. Defaults to that of the values.

    Returns:
        `(rows, values)`: `rows` `(m,)` distinct, in order of first occurrence,
        dtype of `indices`; `values` `(m, ...)` the sums, in `dtype`.

    Example:
    >>> rows, values = sum_duplicates(tf.IndexedSlices(
    ...     values=tf.constant([[1.0], [2.0], [4.0]]),
    ...     indices=tf.constant([7, 3, 7]),
    ... ))
    >>> rows.numpy().tolist(), values.numpy().tolist()
    ([7, 3], [[5.0], [2.0]])
    """
    values = slices.values
    if dtype is not None:
        values = tf.cast(values, dtype)
    rows, segments = tf.unique(slices.indices)
    summed = tf.math.unsorted_segment_sum(values, segments, tf.size(rows))
    # The rank is what rules reduce over; the number of rows stays dynamic.
    summed.set_shape([None, *values.shape[1:]])
    return rows, summed
