"""Runs requests on a SavedModel where there is nothing but TensorFlow.

    python -I replay.py MODEL REQUESTS ANSWERS

A script, not a module: it is handed to another interpreter, perhaps with
another TensorFlow, as a file, and imports TensorFlow alone. That TensorFlow
finds a model's graph complete then says that it needs nothing of this package.

REQUESTS is a TFRecord of tf.train.Examples: `signature`, `names`, `dtypes`
(TensorFlow's numbers) and `tensors` (serialized TensorProtos). ANSWERS gets as
many, in the same order, after a first one with the version of TensorFlow:
`names`, `dtypes` and `tensors`, or `error`.
"""

import sys

#: The packages that the graph must not need.
OURS = ("tfplugin", "serving", "beam_jobs")
#: What the process ends with if the model does not load,
UNLOADABLE = 3
#: and if there is no TensorFlow to load it.
NO_TENSORFLOW = 4


def main(arguments: list[str]) -> int:
    """Answers every request of a file.

    Args:
        arguments: The folder of the model, the file of the requests, and the
            file that is written.

    Returns:
        0, or one of those above, with one line on standard error.
    """
    for name in OURS:
        # They may be installed here; importing them is an error from now on.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import tensorflow as tf
    except ImportError as error:
        print(_line(error), file=sys.stderr)
        return NO_TENSORFLOW

    path, requests, answers = arguments
    try:
        model = tf.saved_model.load(path, tags=["serve"])
    # Whatever a damaged folder makes TensorFlow raise.
    except Exception as error:
        print(_line(error), file=sys.stderr)
        return UNLOADABLE
    with tf.io.TFRecordWriter(answers) as writer:
        writer.write(_example(version=[tf.version.VERSION.encode()]))
        for record in tf.data.TFRecordDataset(requests):
            writer.write(_answer(model, record.numpy()))
    return 0


def _answer(model: object, record: bytes) -> bytes:
    import tensorflow as tf

    feature = tf.train.Example.FromString(record).features.feature
    (signature,) = feature["signature"].bytes_list.value
    try:
        inputs = {
            name.decode(): tf.io.parse_tensor(tensor, tf.as_dtype(dtype))
            for name, dtype, tensor in zip(
                feature["names"].bytes_list.value,
                feature["dtypes"].int64_list.value,
                feature["tensors"].bytes_list.value,
                strict=True,
            )
        }
        outputs = model.signatures[signature.decode()](**inputs)  # type: ignore[attr-defined]
    # What is wrong with one request is the answer to it.
    except Exception as error:
        return _example(error=[_line(error).encode()])
    names = sorted(outputs)
    return _example(
        names=[name.encode() for name in names],
        dtypes=[outputs[name].dtype.as_datatype_enum for name in names],
        tensors=[tf.io.serialize_tensor(outputs[n]).numpy() for n in names],
    )


def _example(**features: list[bytes] | list[int]) -> bytes:
    import tensorflow as tf

    made = tf.train.Example()
    for name, values in features.items():
        kind = made.features.feature[name]
        if values and isinstance(values[0], int):
            kind.int64_list.value.extend(values)
        else:
            kind.bytes_list.value.extend(values)
    return made.SerializeToString()


def _line(error: BaseException) -> str:
    # TensorFlow cannot construct an error whose text quotes bytes of an input.
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode(errors="replace")[:500]
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:1] + [x for x in lines[1:] if "Error" in x][:1])
    return f"{type(error).__name__}: {text}"[:500]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
