"""Records of TFRecord files, in an order that seeds determine."""

import tensorflow as tf

#: Files that are read at a time.
_CYCLE_LENGTH = 4


def read(
    files: tf.data.Dataset, *, in_order: bool, block_length: int
) -> tf.data.Dataset:
    """Records of gzip files, always in the same order.

    Args:
        files: Their paths.
        in_order: Whether to read one file after the other, not several in
            turn.
        block_length: Records taken from a file before the next has its turn.
    """
    return files.interleave(
        lambda path: tf.data.TFRecordDataset(path, "GZIP"),
        cycle_length=1 if in_order else _CYCLE_LENGTH,
        block_length=block_length,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def shuffle(
    records: tf.data.Dataset, buffer_size: int, seeds: tf.Tensor
) -> tf.data.Dataset:
    """`Dataset.shuffle` as a function of `seeds`, int64 `(2,)`, alone.

    The method mixes TensorFlow's global seed in, and fails on a seed that is
    a tensor where that one is 0.

    Args:
        records: Serialized Examples.
        buffer_size: Records among which the next one is chosen.
        seeds: int64 `(2,)`.
    """
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=buffer_size,
        seed=seeds[0],
        seed2=seeds[1],
        output_types=[tf.string],
        output_shapes=[tf.TensorShape([])],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(shuffled, records.element_spec)
