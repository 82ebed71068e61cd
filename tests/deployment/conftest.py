import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfplugin import export
from tfplugin import layers
from tfplugin import schema as schema_lib

#: Columns of configs/completejourney.yaml.
_INTEGERS = ("household_id", "product_id", "store_id", "manufacturer_id")
_STRINGS = ("product_category", "product_type", "household_category")
_LABELS = ("discount", "multi", "coupon")

SCHEMA = schema_lib.Schema(
    id_features={
        **{
            name: schema_lib.IdFeature(dtype="int64", table=name)
            for name in _INTEGERS
        },
        **{
            name: schema_lib.IdFeature(dtype="string", table=name)
            for name in _STRINGS
        },
    },
    labels=_LABELS,
)


def _model(seed):
    keras.utils.set_random_seed(seed)
    features = SCHEMA.id_features.items()
    inputs = {
        name: keras.Input((), dtype=feature.dtype, name=name)
        for name, feature in features
    }
    tables = layers.EmbeddingCollection(
        [
            layers.FeatureConfig(
                name,
                layers.TableConfig(
                    name,
                    4,
                    id_mapping=layers.HashMapping(50, id_dtype=feature.dtype),
                ),
            )
            for name, feature in features
        ],
        concatenate=True,
    )
    x = tables(inputs)
    logits = {label: keras.layers.Dense(1)(x) for label in _LABELS}
    return keras.Model(inputs, logits)


@pytest.fixture(scope="session")
def base_path(tmp_path_factory):
    """Versions 1 and 2 of a model like completejourney's."""
    base = tmp_path_factory.mktemp("models") / "completejourney"
    export.save(
        _model(1),
        base / "1",
        SCHEMA,
        scores={"ranking": "bid * coupon"},
        warm_up=[1, 4],
    )
    shutil.copytree(base / "1", base / "2")
    _scale_weights(base / "2" / "variables" / "variables", 1.5)
    return base


def _scale_weights(prefix, factor):
    """Another model, without the time that another export takes."""
    reader = tf.train.load_checkpoint(str(prefix))
    names = sorted(reader.get_variable_to_shape_map())
    values = [reader.get_tensor(name) for name in names]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[
            value * np.float32(factor)
            if getattr(value, "dtype", None) == np.float32
            else value
            for value in values
        ],
    )
