"""Which operators a graph holds, and which stock TensorFlow Serving lacks."""

import importlib.resources
from typing import Any

_FILE = "stock_operators.txt"


def used(meta_graph: Any) -> set[str]:
    """Every operator of a `MetaGraphDef`, in its graph and all functions.

    Args:
        meta_graph: The `MetaGraphDef`.

    Example:
    >>> import tensorflow as tf
    >>> with tf.Graph().as_default() as graph:
    ...     doubled = 2.0 * tf.constant(3.0)
    >>> meta_graph = tf.compat.v1.MetaGraphDef(graph_def=graph.as_graph_def())
    >>> sorted(used(meta_graph))
    ['Const', 'Mul']
    """
    graph = meta_graph.graph_def
    functions = graph.library.function
    nodes = [*graph.node]
    for function in functions:
        nodes += function.node_def
    names = {function.signature.name for function in functions}
    # A node may also call a function by its name.
    return {node.op for node in nodes} - names


def stock() -> frozenset[str]:
    """Operators with a kernel for processors in stock TensorFlow.

    Those of TensorFlow 2.19.1's C++ library, which TensorFlow Serving 2.19.1
    is made of, without its Python parts; `scripts/stock_operators.py` wrote
    them down.

    Example:
    >>> "MatMul" in stock(), "PyFunc" in stock(), "TfpluginGather" in stock()
    (True, False, False)
    """
    text = (
        importlib.resources.files(__package__)
        .joinpath(_FILE)
        .read_text("utf-8")
    )
    return frozenset(
        line for line in text.splitlines() if line and line[0] != "#"
    )
