"""Configured kinds of models and of hashing, trained."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.support import datasets
from tests.support import experiments
from tests.support import small_models
from tfplugin import config as config_lib
from tfplugin import export
from tfplugin import models
from tfplugin import training
from tfplugin.config.training import ModelConfig
from tfplugin.errors import InputError
from tfplugin.training import experiment as experiment_lib
from tfplugin.training import model_building
from tfplugin.training import model_kinds

OPTIONS = {
    "dcn": {"projection_dim": 2},
    "deepfm": {},
    "dlrm": {"interaction_dim": 2},
    "esmm": {"funnel": ["click", "buy"]},
    "mmoe": {"num_experts": 2},
    "ple": {"num_levels": 1},
    "shared_bottom": {},
}
HASHED = {
    "tables.user": {
        "mapping": "double_hash",
        "num_buckets": 20,
        "compose": "concatenate",
    },
    "tables.tags": {"mapping": "binary_code", "num_buckets": 16},
    "training.tables.row_rate": "log_frequency",
    "training.epochs": 1,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return experiments.make(tmp_path_factory.mktemp("kinds"))


def _configured(config, kind, **changes):
    changes = {"model.kind": kind, "model.options": OPTIONS[kind], **changes}
    return config_lib.with_changes(config, changes)


@pytest.mark.parametrize("kind", sorted(OPTIONS))
def test_each_kind_learns(small, kind):
    assert list(models.kinds()) == sorted(OPTIONS)
    config, work = small
    made = experiment_lib.assemble(_configured(config, kind), work)
    # Tracing a graph takes most of a small training's time.
    made.model.run_eagerly = True
    batch = next(iter(made.dataset.train(256)))
    first, *_, last = (
        float(made.model.train_on_batch(*batch)[0]) for _ in range(6)
    )
    assert last < first


@pytest.fixture(scope="module")
def hashed(tmp_path_factory):
    config, work = experiments.make(tmp_path_factory.mktemp("hashed"))
    config = _configured(config, "esmm", **HASHED)
    history = training.train(config, work)
    return work, training.load(work), history


def test_every_table_of_a_hash_is_described(hashed):
    _, _, history = hashed
    tables = {
        table["name"]: (table["mapping"], table["rows"], table["embedding_dim"])
        for table in history["model"]["tables"]
    }
    assert tables["user_0"] == tables["user_1"] == ("double_hash", 21, 2)
    assert tables["tags_0"] == tables["tags_1"] == ("binary_code", 5, 4)
    assert tables["city"] == ("hash", 6, 4)
    assert tables["position"][0] == "vocabulary"
    features = [table["features"] for table in history["model"]["tables"]]
    assert features[:2] == [["user"], ["user"]]


def test_remedies_are_told_of_every_table(hashed):
    _, made, _ = hashed
    facts = model_building.describe_training(
        made.model, made.config, made.context, made.dataset
    )
    names = {k: [e.name for e in v] for k, v in facts.tables.items()}
    assert names["user"] == ["user_0", "user_1"]
    assert names["city"] == ["city"]


def test_every_table_of_a_hash_counts_its_rows(hashed):
    _, made, _ = hashed
    frequencies = made.dataset.id_frequencies("user")
    parts = made.model.get_layer("embeddings").tables["user"].parts
    for seed, part in enumerate(parts):
        counts = np.zeros(21)
        rows = part.id_mapping(tf.constant(frequencies.ids)).numpy()
        np.add.at(counts, rows, frequencies.counts)
        assert part.id_mapping.seed == seed
        (found,) = (
            variable
            for variable in made.model.optimizer.variables
            if part.name in variable.path and "row_counts" in variable.path
        )
        np.testing.assert_array_equal(found, counts)


def test_the_export_answers_as_the_model(hashed):
    work, made, _ = hashed
    export.save(made.model, work.model / "1", made.dataset.schema)
    served = tf.saved_model.load(str(work.model / "1")).signatures["examples"]
    rows = experiments.rows(9, seed=9)
    answers = served(
        examples=tf.constant([datasets._example(row) for row in rows])
    )
    raw = {
        "user": tf.constant([r["user"] or 0 for r in rows], tf.int64),
        "city": tf.constant([r["city"] or "" for r in rows]),
        "tags": tf.ragged.constant([r["tags"] for r in rows], dtype=tf.string),
        "position": tf.ones([len(rows)], tf.int64),
        "price": tf.constant(
            [np.nan if r["price"] is None else r["price"] for r in rows]
        ),
    }
    given = np.array([r["user"] is not None for r in rows])
    for name, logits in made.model(raw).items():
        expected = tf.sigmoid(logits[:, 0]).numpy()
        np.testing.assert_allclose(
            answers[name].numpy()[given], expected[given], rtol=1e-5
        )
    # In the funnel a purchase is a click, too.
    assert np.all(answers["buy"].numpy() <= answers["click"].numpy())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "mmoee"}, "'mmoee'; there are dcn.*`mmoe`"),
        ({"kind": "catalog"}, "'catalog'"),
        ({"kind": "../x"}, "x'"),
        (
            {"kind": "mmoe", "options": {"num_expert": 3}},
            "'num_expert'.*`num_experts`",
        ),
        ({"kind": "mmoe", "options": {"num_experts": "few"}}, "integer.*'few'"),
        ({"kind": "mmoe", "options": {"dropout": 0.1}}, "model.dropout"),
        ({"kind": "mmoe", "options": {"embeddings": 1}}, "'embeddings'"),
        ({"kind": "dcn", "options": {"structure": "x"}}, "'parallel'"),
        ({"options": {"x": 1}}, "takes none.*'x'"),
        ({"kind": "esmm", "tower_units": [4]}, "no `tower_units`"),
    ],
)
def test_kinds_and_options_that_are_refused(section, message):
    with pytest.raises(InputError, match=message):
        model_kinds.resolve(ModelConfig(**section))


def test_only_keys_that_are_set_are_handed_on():
    function, options = model_kinds.resolve(
        ModelConfig(kind="esmm", dropout=0.5, options={"funnel": ["buy"]})
    )
    assert function is models.esmm
    assert options == {"dropout": 0.5, "funnel": ["buy"]}


def test_options_that_do_not_fit_the_columns(small):
    config, work = small
    options = {"funnel": ["sale"]}
    config = config_lib.with_changes(
        config, {"model.kind": "esmm", "model.options": options}
    )
    with pytest.raises(InputError, match=r"model\.kind=esmm.*'sale'"):
        experiment_lib.assemble(config, work)


def test_a_mapping_knows_its_table():
    mappings = small_models.composed_mappings()
    context = small_models.context(mappings)
    assert context.table_of(mappings["position"]) == "position"
    assert [context.table_of(m) for m in mappings["city"]] == ["city"] * 2
    other = dataclasses.replace(context, id_mappings={})
    assert other.table_of(mappings["position"]) is None
    assert context.table_of(None) is None
