import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

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
    for version in (1, 2):
        export.save(
            _model(version),
            base / str(version),
            SCHEMA,
            scores={"ranking": "bid * coupon"},
            warm_up=[1, 4],
        )
    return base
