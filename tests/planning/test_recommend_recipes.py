import dataclasses

import numpy as np
import pytest

from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin.errors import InputError
from tfplugin.planning import recipes
from tfplugin.planning import recommend_facts
from tfplugin.planning import recommend_records
from tfplugin.planning import recommend_search


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    config, work = experiments.make(tmp_path_factory.mktemp("recipes"))
    dataset = data.open_dataset(work.dataset.path)
    return config, work, recommend_facts.gather(dataset, 64)


def test_facts_are_those_of_the_training_rows(made):
    _, _, facts = made
    rows = experiments.rows(500, 0)
    counts, buys = {}, {}
    for row in rows:
        if row["user"] is not None:
            counts[row["user"]] = counts.get(row["user"], 0) + 1
            bought = int(row["buy"] == 1)
            buys[row["user"]] = buys.get(row["user"], 0) + bought
    total = sum(counts.values())
    (user,) = [table for table in facts.tables if table.name == "user"]
    assert user.ids == len(counts)
    assert user.occurrences_per_id == pytest.approx(total / len(counts))
    assert user.rare_share == pytest.approx(
        sum(c for c in counts.values() if c < 5) / total
    )
    # Of an id it is not known in how many rows the label is masked.
    observed = sum(row["buy"] is not None for row in rows) / len(rows)
    assert user.thin_share == pytest.approx(
        sum(
            count
            for one, count in counts.items()
            if min(buys[one], count * observed - buys[one]) < 5
        )
        / total
    )
    assert facts.sparsest == "buy"
    assert (facts.rows, facts.steps_per_epoch) == (500, 8)
    assert facts.sparse


@pytest.mark.parametrize("sparse", [True, False])
def test_the_catalogue_begins_plain_and_holds_no_recipe_twice(made, sparse):
    config, _, facts = made
    if not sparse:
        tables = [dataclasses.replace(t, thin_share=0.0) for t in facts.tables]
        facts = dataclasses.replace(facts, tables=tuple(tables))
    found = recipes.catalogue(config, facts)
    assert found[0].plain
    assert found[0].learning_rate == config.training.tables.learning_rate
    assert len({recipe.name for recipe in found}) == len(found) > 12
    assert recipes.configured(config).name in {r.name for r in found}
    families = [recipe.family for recipe in found[:6]]
    assert "rates, embedding_reset" in families
    assert (families[1] == "plain") is not sparse
    thin = {"user", "tags", "city", "position"}
    assert {t.name for t in facts.tables} == thin


def test_every_recipe_is_a_configuration_that_can_be_written(made):
    config, _, facts = made
    for recipe in recipes.catalogue(config, facts):
        changes = recipe.changes(config)
        changed = recommend_records.apply(changes, config)
        tables = changed.training.tables
        assert tables.rule == recipe.rule
        assert tables.learning_rate == recipe.learning_rate
        assert set(changed.training.remedies) == set(recipe.remedies)
        assert changed.training.multi_epoch == "manual"
        assert changed.features == config.features
        assert recipes.configured(changed).family == (
            recipe.family.replace(", min_count", "")
        )


def test_constants_stay_with_their_rule(tmp_path):
    config, _ = experiments.make(
        tmp_path,
        "training.tables.rule=adagrad",
        "training.tables.initial_accumulator_value=0.3",
        "training.tables.weight_decay=0.01",
        "training.tables.counts.source=online",
    )
    same = recipes.Recipe("adagrad", 0.5, row_rate=recipes.LOG)
    tables = same.changes(config)["training.tables"]
    assert tables["initial_accumulator_value"] == 0.3
    assert tables["counts"] == {"source": "online"}
    other = recipes.Recipe("lazy_adam", 0.001).changes(config)
    assert other["training.tables"] == {
        "learning_rate": 0.001,
        "rule": "lazy_adam",
        "weight_decay": 0.01,
        "row_rate": "constant",
    }


def test_a_remedy_that_reads_counts_keeps_them(tmp_path):
    config, _ = experiments.make(
        tmp_path,
        "training.tables.row_rate=constant",
        "training.tables.counts.weights={click: 1}",
        "training.remedies={frequency_weight_decay: true}",
    )
    now = recipes.configured(config)
    assert now.evidence == {"click": 1.0}
    changed = recommend_records.apply(now.changes(config), config)
    assert changed.training.tables.counts.weights == {"click": 1.0}
    plain = recipes.Recipe("adagrad", 0.5).changes(config)
    assert "counts" not in plain["training.tables"]


def test_a_table_whose_ids_the_user_chose_keeps_them(made):
    config, _, facts = made
    chosen = [r.min_count for r in recipes.catalogue(config, facts)]
    # `user` has a min_count and `city` is hashed.
    assert not any({"user", "city"} & set(counts) for counts in chosen)


def test_neighbours_differ_in_one_thing(made):
    config, _, _ = made
    for start in (
        recipes.Recipe("adagrad", 0.1),
        recipes.Recipe(
            "adagrad", 0.1, row_rate=recipes.LOG, remedies={"cow_clip": {}}
        ),
    ):
        near = recipes.neighbours(start)
        assert len({recipe.name for recipe in near} | {start.name}) == (
            len(near) + 1
        )
        for recipe in near:
            differing = [
                field.name
                for field in dataclasses.fields(recipe)
                if getattr(recipe, field.name) != getattr(start, field.name)
            ]
            assert len(differing) == 1
    for first, back in ((-2, -1), (-1, -2)):
        there = recipes.neighbours(recipes.Recipe("adagrad", 0.1))[first]
        assert there.rest_factor != 1.0
        again = recipes.neighbours(there)[back]
        assert again == recipes.Recipe("adagrad", 0.1)
    slower = recipes.Recipe("adagrad", 0.1, 0.333).changes(config)
    assert slower["training.rest.learning_rate"] == 0.00666


def test_changes_are_sections_and_overrides_of_the_same_configuration(
    made, tmp_path
):
    config, work, _ = made
    changes = {
        "training.epochs": 6,
        **recipes.Recipe(
            "lazy_adam",
            0.003,
            0.5,
            row_rate={"law": "log_frequency", "floor": 0.1},
            remedies={"embedding_reset": {"start_epoch": 3}},
            min_count={"tags": 3},
        ).changes(config),
    }
    applied = recommend_records.apply(changes, config)
    words = [
        f"{key}={recommend_records.flow(value)}"
        for key, value in changes.items()
    ]
    assert config_lib.with_changes(
        config_lib.load(work.config, words), {"training.multi_epoch": "manual"}
    ) == (applied)
    sections = recommend_records.nested(changes)
    assert sections["tables"] == {"tags": {"min_count": 3}}
    assert sections["training"]["remedies"] == {
        "embedding_reset": {"start_epoch": 3}
    }


def test_masked_rows_are_no_negatives():
    frequencies = data.IdFrequencies.from_counts(
        [1, 2], [100, 100], {"buy": np.array([50, 6])}
    )
    known = recommend_facts._table("user", frequencies, "buy", 1.0)
    assert known.thin_share == 0.0
    # Of 100 rows 52 were observed, so that 2 negatives are left to id 1.
    known = recommend_facts._table("user", frequencies, "buy", 0.52)
    assert known.thin_share == 0.5


def test_remedies_by_hand_beside_auto_are_refused(tmp_path):
    config, work = experiments.make(
        tmp_path,
        "training.multi_epoch=auto",
        "training.remedies.embedding_reset=true",
    )
    with pytest.raises(InputError, match=r"auto chooses.*embedding_reset"):
        recommend_search.recommend(config, work)
