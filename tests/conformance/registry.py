"""One descriptor a public Keras class: all it takes, none at its default.

A new layer, optimizer, row rate or metric needs an entry in `DESCRIPTORS`;
tests/conformance/test_registry.py fails without.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from tfplugin import calibration
from tfplugin import callbacks
from tfplugin import layers
from tfplugin import metrics
from tfplugin import optimizers

#: Public bases, which are not made by themselves.
BASES = (layers.IdMapping, optimizers.RowRate)


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """How a class is made with every argument other than by default.

    `arguments` has an entry for each parameter of the constructor.
    `in_config` gives what `get_config` says where that is, by design, not
    the argument. `at_default` names arguments that another one rules out;
    tests of their own try them.
    """

    arguments: Callable[[], dict[str, Any]]
    in_config: dict[str, Any] = dataclasses.field(default_factory=dict)
    at_default: tuple[str, ...] = ()


def _item_table():
    return layers.TableConfig("item", 3, vocabulary_size=7, seed=4)


def _sparse(**arguments):
    return {
        "learning_rate": 0.25,
        "row_rate": optimizers.LogFrequency(special_rate=0.5),
        "name": "named",
        **arguments,
    }


def _law(**arguments):
    return {
        **arguments,
        "special_rate": 0.5,
        "floor": 0.125,
        "cap": 2.0,
        "warm_up_steps": 10,
    }


_MAPPING = layers.VocabularyMapping([30, 10], name="mapping")
_HASHES = [
    layers.HashMapping(9, seed=seed, name=f"h_{seed}") for seed in (5, 6)
]

DESCRIPTORS = {
    calibration.CalibratedLogits: Descriptor(
        lambda: {
            "curves": {
                "click": {
                    "slope": 2.0,
                    "intercept": 0.5,
                    "knots": [],
                    "end_slopes": [1.0, 1.0],
                },
                "buy": {
                    "slope": 1.0,
                    "intercept": 0.0,
                    "knots": [[-1.0, -2.0], [1.0, 0.5]],
                    "end_slopes": [0.5, 2.0],
                },
            },
        }
    ),
    calibration.SamplingCorrection: Descriptor(
        lambda: {
            "labels": ["click", "buy"],
            "rate": 0.25,
            "outside": {"rate": 0.5},
            "unaffected": ["buy"],
        }
    ),
    callbacks.GatedLoss: Descriptor(
        lambda: {
            "loss": keras.losses.BinaryCrossentropy(from_logits=True),
            "is_open": False,
            "name": "named",
        }
    ),
    layers.CodeBlockMapping: Descriptor(
        lambda: {
            "num_bits": 3,
            "first_bit": 2,
            "id_dtype": "string",
            "seed": 5,
        }
    ),
    layers.ComposedEmbedding: Descriptor(
        lambda: {
            "embedding_dim": 6,
            "id_mappings": _HASHES,
            "compose": "concatenate",
            "combiner": "sqrtn",
            "embeddings_initializer": keras.initializers.Constant(0.5),
            "seed": 11,
        },
        in_config={
            "id_mappings": [
                keras.saving.serialize_keras_object(one) for one in _HASHES
            ]
        },
    ),
    layers.DenseFeature: Descriptor(
        lambda: {
            "transforms": ("log1p", "quantile_buckets"),
            "mean": 2.0,
            "standard_deviation": 3.0,
            "log_mean": 0.5,
            "log_standard_deviation": 0.25,
            "boundaries": (1.0, 4.0),
            "missing_indicator": False,
        }
    ),
    layers.Embedding: Descriptor(
        lambda: {
            "vocabulary_size": _MAPPING.vocabulary_size,
            "embedding_dim": 5,
            "id_mapping": _MAPPING,
            "combiner": "sqrtn",
            "embeddings_initializer": keras.initializers.Constant(0.5),
            "seed": 11,
        }
    ),
    layers.EmbeddingCollection: Descriptor(
        lambda: {
            "features": [layers.FeatureConfig("shown", _item_table())],
            "concatenate": True,
        },
        # Features name their table, so that a shared one is written once.
        in_config={"features": [{"name": "shown", "table": "item"}]},
    ),
    layers.FeatureConfig: Descriptor(
        lambda: {"name": "shown", "table": _item_table()}
    ),
    layers.HashMapping: Descriptor(
        lambda: {"num_buckets": 9, "id_dtype": "string", "seed": 5}
    ),
    layers.TableConfig: Descriptor(
        lambda: {
            "name": "item",
            "embedding_dim": 3,
            "id_mapping": _MAPPING,
            "vocabulary_size": _MAPPING.vocabulary_size,
            "combiner": "sum",
            "embeddings_initializer": keras.initializers.Constant(0.5),
            "seed": 4,
            "compose": "concatenate",
        }
    ),
    layers.VocabularyMapping: Descriptor(
        lambda: {
            "vocabulary": [30, 10],
            "num_oov_buckets": 3,
            "seed": 5,
            "id_dtype": "int64",
            "num_ids": 2,
            "fingerprint": layers.VocabularyMapping([30, 10], 3).fingerprint,
        },
        # The vocabulary travels as an asset, not in the configuration.
        in_config={"vocabulary": None},
    ),
    optimizers.ConstantRate: Descriptor(lambda: {"value": 0.5}),
    optimizers.LazyAdam: Descriptor(
        lambda: _sparse(
            beta_1=0.5,
            beta_2=0.75,
            epsilon=0.125,
            bias_correction="row",
            replay_skipped_steps=False,
        ),
        # Steps of the table are replayed, not those of a row.
        at_default=("replay_skipped_steps",),
    ),
    optimizers.InverseFrequency: Descriptor(lambda: _law(exponent=0.25)),
    optimizers.LogFrequency: Descriptor(_law),
    optimizers.OnlineCounts: Descriptor(
        lambda: {"unit": "batches", "half_life": 100.0}
    ),
    optimizers.PartialRowwiseAdam: Descriptor(
        lambda: _sparse(beta_1=0.5, beta_2=0.75, epsilon=0.125)
    ),
    optimizers.PowerFrequency: Descriptor(lambda: _law(exponent=0.25)),
    optimizers.SaturatingFrequency: Descriptor(lambda: _law(threshold=7.0)),
    # What all laws share is in **shared here.
    optimizers.TailDecrease: Descriptor(
        lambda: {
            "exponent": 0.5,
            "threshold": 7.0,
            "start_step": 10,
            "lowest": 0.25,
            "highest": 0.75,
        }
    ),
    optimizers.RowwiseAdagrad: Descriptor(
        lambda: _sparse(initial_accumulator_value=0.5, epsilon=0.125)
    ),
    optimizers.SparseAdagrad: Descriptor(
        lambda: _sparse(initial_accumulator_value=0.5, epsilon=0.125)
    ),
    optimizers.SparseFtrl: Descriptor(
        lambda: {
            "learning_rate": 0.25,
            "learning_rate_power": -0.25,
            "initial_accumulator_value": 0.5,
            "l1": 0.125,
            "l2": 0.375,
            "l2_shrinkage": 0.625,
            "beta": 0.75,
            "name": "named",
        }
    ),
    optimizers.SparseOptimizer: Descriptor(
        lambda: _sparse(
            rule=optimizers.LazyAdam(epsilon=0.125).rule,
            online_counts=optimizers.OnlineCounts("batches"),
        )
    ),
    optimizers.SparseSGD: Descriptor(lambda: _sparse(momentum=0.5)),
    optimizers.SplitOptimizer: Descriptor(
        lambda: {
            "tables": optimizers.SparseSGD(0.5, momentum=0.25),
            "rest": keras.optimizers.Adam(0.125),
            "table_mask": [True, False, "item"],
            "trainable_mask": [False, True, True],
            "rate_ratio": [4.0, 2.0],
            "overrides": {"item": optimizers.SparseSGD(0.25)},
            "name": "named",
        }
    ),
    metrics.AUC: Descriptor(
        lambda: {"from_logits": False, "name": "named", "dtype": "float64"}
    ),
    metrics.Calibration: Descriptor(
        lambda: {"from_logits": False, "name": "named", "dtype": "float64"}
    ),
    metrics.NormalizedEntropy: Descriptor(
        lambda: {
            "base_rate": 0.25,
            "from_logits": False,
            "name": "named",
            "dtype": "float64",
        }
    ),
    metrics.PRAUC: Descriptor(
        lambda: {"from_logits": False, "name": "named", "dtype": "float64"}
    ),
}
