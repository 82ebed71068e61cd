"""Remedies that are options of the tables' optimizer, from YAML to training."""

import numpy as np
import pytest

from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin import remedies
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.optimizers import row_options
from tfplugin.training import model_building

NAMES = ("adaptive_regularization", "cow_clip", "frequency_weight_decay")


def _tables_optimizer(tmp_path, *overrides):
    config, work = experiments.make(tmp_path, *overrides)
    made = training.assemble(config, work)
    return made, made.model.optimizer.tables


@pytest.mark.parametrize("name", NAMES)
def test_switched_on_by_its_name_alone(name):
    (remedy,) = remedies.parse({name: True}).values()
    options = remedy.row_options(steps_per_epoch=50)
    off = row_options.RowOptions().get_config()
    assert row_options.RowOptions(**options).get_config() != off
    assert remedies.parse({name: False}) == {}


def test_a_strength_is_by_epoch_whatever_the_batches():
    (remedy,) = remedies.parse(
        {"adaptive_regularization": {"strength": 0.5, "kept": 0.25}}
    ).values()
    for steps in (1, 10, 12345):
        options = remedy.row_options(steps_per_epoch=steps)
        assert options["adaptive_decay"] * steps == pytest.approx(0.5)
        assert options["adaptive_decay_kept"] == 0.25


@pytest.mark.parametrize(
    "section",
    [
        {"adaptive_regularization": {"strength": 0.0}},
        {"adaptive_regularization": {"kept": 1.5}},
        {"cow_clip": {"ratio": -1.0}},
        {"cow_clip": {"bound": 0.0}},
        {"frequency_weight_decay": {"strength": float("nan")}},
        {"frequency_weight_decay": {"rate": 1.0}},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(section):
    with pytest.raises(ValueError):
        remedies.parse(section)


def test_all_three_train_together(tmp_path):
    config, work = experiments.make(
        tmp_path,
        "training.epochs=1",
        "training.telemetry=false",
        "training.tables.row_rate=constant",
        "training.remedies={adaptive_regularization: {strength: 0.5}, "
        "cow_clip: {ratio: 0.5, bound: 0.01}, "
        "frequency_weight_decay: {strength: 2.0}}",
    )
    history = training.train(config, work)
    assert len(history["epochs"]) == 1
    made = training.load(work)
    for table in made.model.optimizer.tables.variables:
        assert np.isfinite(table.numpy()).all()
    options = made.model.optimizer.tables.options
    batches = made.dataset.num_batches("train", config.training.batch_size)
    assert options == row_options.RowOptions(
        adaptive_decay=0.5 / batches,
        cow_clip_ratio=0.5,
        cow_clip_bound=0.01,
        frequency_decay=2.0,
    )


def test_decay_by_frequency_gets_counts_that_no_rate_reads(tmp_path):
    made, optimizer = _tables_optimizer(
        tmp_path,
        "training.tables.row_rate=constant",
        "training.remedies={frequency_weight_decay: true}",
    )
    (city,) = (
        layer
        for layer in model_building.embedding_layers(made.model)
        if layer.name == "city"
    )
    frequencies = made.dataset.id_frequencies("city")
    expected = city.id_mapping.row_counts(
        frequencies.ids, frequencies.evidence({"occurrences": 1.0})
    )
    kept = [
        variable.numpy()
        for variable in optimizer.variables
        if variable.path.endswith("row_counts") and "city" in variable.path
    ]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], expected)
    assert expected.sum() > 0


@pytest.mark.parametrize(
    ("remedy", "key", "tables"),
    [
        ("cow_clip", "clip_value", "{clip_value: 1.0}"),
        ("cow_clip", "clip_row_norm", "{clip_row_norm: 1.0}"),
        ("cow_clip", "clip_global_norm", "{clip_global_norm: 1.0}"),
        (
            "adaptive_regularization",
            "compound_weight_decay",
            "{weight_decay: 0.1, compound_weight_decay: true}",
        ),
    ],
)
def test_what_excludes_a_remedy_is_refused_by_the_names_in_the_file(
    tmp_path, remedy, key, tables
):
    experiments.make(tmp_path)
    overrides = [
        f"training.tables={tables}",
        f"training.remedies={{{remedy}: true}}",
    ]
    with pytest.raises(InputError) as refusal:
        config_lib.load(tmp_path / "small.yaml", overrides)
    message = str(refusal.value)
    for word in (
        f"`training.remedies.{remedy}` and `training.tables.{key}`",
        "Leave one out.",
    ):
        assert word in message
    off = f"training.remedies.{remedy}=false"
    config_lib.load(tmp_path / "small.yaml", [*overrides, off])
