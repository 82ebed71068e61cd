import collections
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import datasets
from tests.support import experiments
from tfplugin import artifacts
from tfplugin import cli
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.training import warm_start

#: Ends of the names of what counts the rows of the new dataset.
COUNTS = ("row_counts", "maximum_count", "num_special_rows")
QUICK = ("training.telemetry=false", "training.epochs=2")


class _StopAfter(keras.callbacks.Callback):
    """Dies as a killed process would, after an epoch was saved."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epochs:
            raise KeyboardInterrupt


def _later_rows():
    """Other users and tags, in another order of frequency."""
    rows = experiments.rows(300, 7)
    for place, row in enumerate(rows):
        if row["user"] is not None:
            row["user"] = (row["user"] * 31 + 5) % 120
        row["tags"] = [f"t{len(tag) + place % 4}" for tag in row["tags"]]
        if place % 9 == 0:
            row["tags"].append("Zürich")
    return rows


def _make(path, rows=None, overrides=()):
    path.mkdir()
    made = experiments.make(path, *QUICK, *overrides)
    if rows is not None:
        _, work = made
        artifacts.remove(work.dataset.path)
        splits = {"train": rows, "validation": rows[:90], "test": rows[90:]}
        datasets.write_dataset(work.dataset.path, experiments.SCHEMA, splits)
    return made


def _assemble(path, rows=None, overrides=()):
    warm_start.reset_names()
    return training.assemble(*_make(path, rows, overrides))


def _randomise(model, seed):
    rng = np.random.default_rng(seed)
    for variable in [*model.weights, *model.optimizer.variables]:
        if "int" in variable.dtype:
            variable.assign(np.full(variable.shape, 7))
        elif variable.name != "learning_rate":
            variable.assign(rng.uniform(1, 2, variable.shape))


def _vocabulary(rows, feature, min_count=1):
    """Ids by falling count, equal counts by rising id, by hand."""
    counts = collections.Counter()
    for row in rows:
        value = row[feature]
        counts.update(value if isinstance(value, list) else [value])
    del counts[None]
    kept = [one for one in counts.items() if one[1] >= min_count]
    return [id_ for id_, _ in sorted(kept, key=lambda one: (-one[1], one[0]))]


def _by_id(values, vocabulary):
    return dict(zip(vocabulary, values[2:], strict=True))


def _kept_of(model):
    """Every variable of the model and of its optimizers, by name."""
    kept = {v.path: v.numpy() for v in model.weights}
    for optimizer in (model.optimizer.tables, model.optimizer.rest):
        for variable in optimizer.variables:
            kept[f"{optimizer.name} {variable.name}"] = variable.numpy()
    return kept


@pytest.mark.parametrize("rule", ["adagrad", "rowwise_adagrad", "lazy_adam"])
def test_rows_and_state_follow_their_raw_ids(tmp_path, rule):
    overrides = [f"training.tables.rule={rule}"]
    old = _assemble(tmp_path / "old", overrides=overrides)
    _randomise(old.model, 0)
    later = _later_rows()
    new = _assemble(tmp_path / "new", later, overrides)
    fresh, before = _kept_of(new.model), _kept_of(old.model)
    report = warm_start.carry(old, new)
    after = _kept_of(new.model)
    earlier = experiments.rows(500, 0)
    for feature, min_count in (("user", 2), ("tags", 1), ("position", 1)):
        first = _vocabulary(earlier, feature, min_count)
        second = _vocabulary(later, feature, min_count)
        assert first != second or feature == "position"
        assert report["tables"][feature] == {
            "kept": len(set(first) & set(second)),
            "new": len(set(second) - set(first)),
            "dropped": len(set(first) - set(second)),
            "unit": "ids",
        }
        names = [n for n in after if f"{feature}_embeddings" in n]
        names = [n for n in names if after[n].ndim and "count" not in n]
        assert len(names) == (2 if rule == "lazy_adam" else 1)
        for name in [f"embeddings/{feature}/embeddings", *names]:
            # The rows of the missing id and of unknown ids.
            np.testing.assert_array_equal(after[name][:2], before[name][:2])
            expected = _by_id(fresh[name], second)
            known = _by_id(before[name], first)
            expected |= {k: v for k, v in known.items() if k in expected}
            found = _by_id(after[name], second)
            for id_ in second:
                np.testing.assert_array_equal(found[id_], expected[id_])
    hashed = ["embeddings/city/embeddings"]
    hashed += [n for n in after if "city_emb" in n and not n.endswith(COUNTS)]
    dense = [n for n in after if "bottom_0" in n or "/click/" in n]
    scalars = [n for n in after if n.endswith(("iteration", "_step"))]
    assert len(dense) >= 6
    assert len(scalars) == (6 if rule == "lazy_adam" else 2)
    for name in [*hashed, *dense, *scalars]:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    # Counts are those of the new rows.
    for name in after:
        if name.endswith((*COUNTS, "learning_rate")):
            np.testing.assert_array_equal(after[name], fresh[name])
    assert report["tables"]["city"] == {
        "kept": 5,
        "new": 0,
        "dropped": 0,
        "unit": "rows",
    }
    assert (report["fresh"], report["gone"]) == ([], [])


def test_counts_that_grew_online_are_carried(tmp_path):
    overrides = [
        "training.tables.counts={source: both, half_life: 3}",
        "training.tables.weight_decay=0.1",
        "training.tables.compound_weight_decay=true",
    ]
    old = _assemble(tmp_path / "old", overrides=overrides)
    _randomise(old.model, 1)
    later = _later_rows()
    new = _assemble(tmp_path / "new", later, overrides)
    fresh, before = _kept_of(new.model), _kept_of(old.model)
    warm_start.carry(old, new)
    after = _kept_of(new.model)
    first = _vocabulary(experiments.rows(500, 0), "user", 2)
    second = _vocabulary(later, "user", 2)
    head = f"{new.model.optimizer.tables.name} embeddings_user_embeddings_"
    assert after[f"{head}clock"] == after[f"{head}step"] == 7
    assert after[f"{head}num_special_rows"] == 2
    largest = 0.0
    for row, id_ in enumerate(second, start=2):
        names = [f"{head}{end}" for end in ("row_counts", "last_counted")]
        if id_ in first:
            source = first.index(id_) + 2
            wanted = [before[name][source] for name in names]
            last_step = before[f"{head}last_step"][source]
        else:
            # A new id was not absent before: no decay waits for it.
            wanted, last_step = [fresh[names[0]][row], 7.0], 7.0
        assert [after[name][row] for name in names] == wanted
        assert after[f"{head}last_step"][row] == last_step
        largest = max(largest, wanted[0] * 2 ** ((wanted[1] - 7) / 3))
    assert after[f"{head}maximum_count"] == pytest.approx(largest, rel=1e-6)


def test_what_does_not_fit_is_fresh_and_says_why(tmp_path):
    old = _assemble(tmp_path / "old")
    _randomise(old.model, 2)
    new = _assemble(
        tmp_path / "new",
        overrides=[
            "training.tables.rule=lazy_adam",
            "training.rest.rule=sgd",
            "tables.city.num_buckets=6",
            "tables.tags={num_oov_buckets: 2}",
            "model.hidden_units=[7]",
            "model.tower_units=[3]",
        ],
    )
    fresh = _kept_of(new.model)
    report = warm_start.carry(old, new)
    after = _kept_of(new.model)
    reasons = {one["name"]: one["reason"] for one in report["fresh"]}
    user = "embeddings/user/embeddings"
    assert (
        "RowwiseAdagrad and is LazyAdam"
        in reasons[f"optimizer state of {user}"]
    )
    old_user = old.model.get_layer("embeddings").tables["user"].embeddings
    np.testing.assert_array_equal(after[user], old_user.numpy())
    assert "num_buckets=5" in reasons["embeddings/city/embeddings"]
    assert "num_buckets=6" in reasons["embeddings/city/embeddings"]
    assert "rows of unknown ids of embeddings/tags/embeddings" in reasons
    tags = "embeddings/tags/embeddings"
    old_tags = old.model.get_layer("embeddings").tables["tags"].embeddings
    np.testing.assert_array_equal(after[tags][0], old_tags.numpy()[0])
    np.testing.assert_array_equal(after[tags][1:3], fresh[tags][1:3])
    np.testing.assert_array_equal(after[tags][3:], old_tags.numpy()[2:])
    assert "shape was" in reasons["bottom_0/kernel"]
    assert "does not have it" in reasons["click_tower_0/kernel"]
    assert "Adam and is SGD" in reasons["weights outside of tables"]
    for name in after:
        if "city" in name or "bottom_0" in name or "user_embeddings_" in name:
            np.testing.assert_array_equal(after[name], fresh[name])
    assert report["gone"] == []
    assert report["tables"]["city"] == {
        "kept": 0,
        "new": 6,
        "dropped": 5,
        "unit": "rows",
    }


_CODES = "{mapping: binary_code, num_buckets: 256, num_blocks: 2}"


@pytest.mark.parametrize(
    ("before", "now", "reasons", "counts"),
    [
        (
            "{}",
            "{mapping: double_hash, num_buckets: 7}",
            {
                "city": "its mapping was a vocabulary and is HashMapping("
                "num_buckets=7, "
            },
            {"city": (0, 14, 3)},
        ),
        (
            _CODES,
            "{mapping: hash, num_buckets: 9}",
            {"city": "its mapping was CodeBlockMapping("},
            {"city": (0, 9, 32)},
        ),
        (
            _CODES,
            "{mapping: double_hash, num_buckets: 16}",
            {
                "embeddings/city/city_0/embeddings": "its mapping was Code",
                "embeddings/city/city_1/embeddings": "its mapping was Code",
            },
            {"city_0": (0, 16, 16), "city_1": (0, 16, 16)},
        ),
        (_CODES, _CODES, {}, {"city_0": (16, 0, 0), "city_1": (16, 0, 0)}),
    ],
    ids=["to_composed", "from_composed", "other_codes", "same"],
)
def test_a_table_in_parts_says_why_it_is_fresh(
    tmp_path, before, now, reasons, counts
):
    old = _assemble(tmp_path / "old", overrides=[f"tables.city={before}"])
    _randomise(old.model, 3)
    new = _assemble(tmp_path / "new", overrides=[f"tables.city={now}"])
    report = warm_start.carry(old, new)
    found = {one["name"]: one["reason"] for one in report["fresh"]}
    assert found.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert found[name].startswith(reason)
    for name, (kept, fresh, dropped) in counts.items():
        assert report["tables"][name] == {
            "kept": kept,
            "new": fresh,
            "dropped": dropped,
            "unit": "rows",
        }
    others = {"user", "tags", "position"}
    assert report["tables"].keys() == others | counts.keys()


def test_rows_of_another_length_are_refused(tmp_path):
    old = _assemble(tmp_path / "old")
    new = _assemble(
        tmp_path / "new", overrides=["tables.user={embedding_dim: 2}"]
    )
    with pytest.raises(InputError, match="table user with embedding_dim 2"):
        warm_start.carry(old, new)


def _saved(work):
    """Everything in a folder's newest checkpoint."""
    reader = tf.train.load_checkpoint(str(work.checkpoints))
    names = reader.get_variable_to_shape_map()
    left_out = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter")
    return {
        name: reader.get_tensor(name)
        for name in names
        if not name.startswith(left_out)
    }


def test_training_goes_on_from_an_older_model(tmp_path, capsys):
    config, old = _make(tmp_path / "old", None, ["training.epochs=1"])
    with pytest.raises(InputError, match=r"--warm-start.*config\.yaml"):
        training.train(config, old, warm_start=artifacts.WorkFolder(tmp_path))
    with pytest.raises(InputError, match="another folder"):
        training.train(config, old, warm_start=old)
    config, whole = _make(tmp_path / "whole", _later_rows())
    arguments = ["train", "--config", str(tmp_path / "whole" / "small.yaml")]
    arguments += ["--workdir", str(whole.path), "--warm-start", str(old.path)]
    for override in QUICK:
        arguments += ["--set", override]
    assert cli.main(arguments) == 2
    refused = capsys.readouterr().err
    assert "--warm-start" in refused and str(old.history) in refused
    trained = training.train(config, old)
    assert trained["warm_start"] is None and trained["start"] is None
    assert cli.main(arguments) == 0
    assert "Warm start" in capsys.readouterr().out
    history = json.loads(whole.history.read_text())
    assert history["warm_start"]["from"] == str(old.path)
    assert history["warm_start"]["tables"]["user"]["new"] > 0
    start = history["start"]["validation"]
    assert start["rows"] == 90
    assert 0 < start["objectives"]["click"]["auc"] < 1

    config, cut = _make(tmp_path / "cut", _later_rows())
    with pytest.raises(KeyboardInterrupt):
        training.train(
            config,
            cut,
            warm_start=old,
            extra_callbacks=lambda _: [_StopAfter(1)],
        )
    with pytest.raises(InputError, match="stays with what it began from"):
        training.train(config, cut, resume=True, warm_start=whole)
    resumed = training.train(config, cut, resume=True, warm_start=old)
    assert resumed["warm_start"] == history["warm_start"]
    assert resumed["start"] == history["start"]
    expected, found = _saved(whole), _saved(cut)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
