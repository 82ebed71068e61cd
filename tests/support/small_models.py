"""Models of `tfplugin.models` over the columns of `experiments`."""

import keras
import numpy as np
import tensorflow as tf

from tests.support import experiments
from tfplugin import layers
from tfplugin import models
from tfplugin import schema as schema_lib

#: Raw features as a batch of `experiments.SCHEMA` has them.
FEATURES = {
    "user": tf.constant([1, 2, -(2**63)], tf.int64),
    "city": tf.constant(["Bern", "", "x"]),
    "tags": tf.ragged.constant([["a", "b"], [], ["c"]], dtype=tf.string),
    "position": tf.constant([0, 1, 2], tf.int64),
    "price": tf.constant([1.0, np.nan, -1.0]),
}


def mappings():
    return {
        "user": layers.HashMapping(7),
        "city": layers.HashMapping(5, id_dtype="string"),
        "tags": layers.HashMapping(5, id_dtype="string"),
        "position": layers.HashMapping(3),
    }


def composed_mappings():
    """A vocabulary, a double hash and a binary code."""
    return mappings() | {
        "user": layers.VocabularyMapping([1, 2], name="user_rows"),
        "city": tuple(
            layers.HashMapping(5, id_dtype="string", seed=seed, name=f"c{seed}")
            for seed in (0, 1)
        ),
        "tags": tuple(
            layers.CodeBlockMapping(2, bit, id_dtype="string", name=f"t{bit}")
            for bit in (0, 2)
        ),
    }


def context(id_mappings):
    return models.ModelContext(
        schema=experiments.SCHEMA,
        statistics=schema_lib.Statistics(
            source_files=(),
            rows_read=0,
            rows_removed_by_select=0,
            rows_added_by_select=0,
            rows_rejected=0,
            time_cut_offs=None,
            shards={},
            labels={},
            dense={},
            tables={},
        ),
        id_mappings=id_mappings,
    )


def build(
    function,
    id_mappings=None,
    dims=None,
    objectives=("click", "buy"),
    **options,
):
    """A model whose every weight is random; `dims` is length by table."""
    made = context(id_mappings or mappings())
    tables = {
        name: layers.TableConfig(
            name, (dims or {}).get(name, 4), id_mapping=mapping, seed=1
        )
        for name, mapping in made.id_mappings.items()
    }
    model = function(
        made.inputs(),
        embeddings=layers.EmbeddingCollection(
            [layers.FeatureConfig(n, t) for n, t in tables.items()],
            name="embeddings",
        ),
        dense_features={"price": layers.DenseFeature(name="price_columns")},
        objectives=objectives,
        **options,
    )
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


def outputs_of(model, *names):
    """What layers of a model give for `FEATURES`, as NumPy arrays."""
    tapped = keras.Model(
        model.input, {name: model.get_layer(name).output for name in names}
    )
    return {name: np.asarray(v) for name, v in tapped(FEATURES).items()}


def vectors_of(model, name):
    """What a collection gives for `FEATURES`, in the order of the columns."""
    collection = model.get_layer(name)
    names = [feature.name for feature in collection.features]
    vectors = collection({name: FEATURES[name] for name in names})
    return [np.asarray(vectors[name]) for name in names]
