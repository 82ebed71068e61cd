"""The one walk over layers, and that nobody else has his own."""

import ast

import keras

from tests.support import source_imports
from tfplugin import callbacks
from tfplugin import layer_tree
from tfplugin import layers
from tfplugin import optimizers


class Holder(keras.layers.Layer):
    """Holds layers in whatever it is given."""

    def __init__(self, held, **kwargs):
        super().__init__(**kwargs)
        self.held = held

    def call(self, inputs):
        return inputs


def _found(item):
    return [id(layer) for layer in layer_tree.walk(item)]


def test_layers_are_found_wherever_they_hang():
    kinds = {
        "list": lambda layer: [layer],
        "tuple": lambda layer: (layer,),
        "dict": lambda layer: {"a": layer},
        "nested": lambda layer: {"a": [({"b": layer},)]},
        "layer": lambda layer: Holder(layer),
        # Keras's own list of what a layer tracks has these.
        "set": lambda layer: {layer},
    }
    for kind, hold in kinds.items():
        layer = layers.HashMapping(3)
        holder = Holder(hold(layer))
        assert _found(holder).count(id(layer)) == 1, kind
        assert layers.find_id_mappings(holder) == [layer], kind


def test_a_shared_layer_comes_once_and_after_what_holds_it():
    shared = layers.HashMapping(3)
    first, second = Holder(shared), Holder([shared])
    both = Holder([first, second])
    order = _found(both)
    assert order[0] == id(both)
    assert len(order) == len(set(order)) == 4
    assert order.index(id(shared)) > order.index(id(first))


def test_layers_that_hold_each_other_end():
    one = Holder([])
    other = Holder([one])
    one.other = other
    assert set(_found(one)) == {id(one), id(other)}


def test_every_finder_sees_the_same_tables():
    ids = keras.Input((2,), dtype="int64")
    table = layers.Embedding(9, 2, combiner="mean")
    inner = keras.Sequential([keras.Input((2,), dtype="int64"), table])
    model = keras.Model(ids, keras.layers.Dense(1)(inner(ids)))
    split = optimizers.split(
        model, tables=optimizers.SparseSGD(0.1), rest=keras.optimizers.SGD(0.1)
    )
    model.compile(split, "mse")
    split.build(model.trainable_variables)
    assert split.state_bytes(table.embeddings) == 0
    reset = callbacks.EmbeddingReset()
    reset.set_model(model)
    before = table.embeddings.numpy()
    reset.on_epoch_begin(1)
    assert (table.embeddings.numpy() != before).any()


def test_there_is_one_walk():
    walks = set()
    for module, path in source_imports.paths().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node, "attr", "")
            if name in ("_flatten_layers", "_layers", "TrackableView"):
                walks.add(module)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "vars":
                walks.add(module)
    assert walks == {"tfplugin.layer_tree"}
