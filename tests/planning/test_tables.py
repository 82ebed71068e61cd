import json

import numpy as np
import pytest
import yaml

from tests.cli import shop
from tests.report import page_reader
from tests.support import datasets
from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import planning
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.report import plan_page
from tfplugin.training import model_building
from tfplugin.training import optimization


def planned(config, work, **options):
    dataset = data.open_dataset(work.dataset.path)
    return planning.plan(config, dataset, **options), dataset


def by_name(plan):
    return {table.name: table for table in plan.tables}


def rewrite(work, plan, overrides=()):
    """The configuration with the proposal pasted in, read by `load`."""
    raw = yaml.safe_load(work.config.read_text("utf-8"))
    raw["tables"] = yaml.safe_load(plan.to_yaml())["tables"]
    path = work.path / "pasted.yaml"
    path.write_text(yaml.safe_dump(raw), "utf-8")
    return config_lib.load(path, overrides)


@pytest.mark.parametrize("budget", [None, 4000, 900])
def test_pasted_plan_makes_the_promised_tables(tmp_path, budget):
    config, work = experiments.make(
        tmp_path, "training.tables.rule=lazy_adam", "tables={}"
    )
    work.config.write_text(config_lib.dump(config))
    plan, dataset = planned(config, work, budget=budget)
    assert budget is None or plan.least_budget <= plan.bytes <= budget
    pasted = rewrite(work, plan)
    context = model_building.model_context(pasted, dataset)
    model = model_building.build_model(pasted, context)
    facts = model_building.describe_training(model, pasted, context, dataset)
    optimization.compile_model(model, pasted, context, dataset, facts)
    made = {
        layer.id_mapping.name.removesuffix("_rows"): layer
        for layer in model_building.embedding_layers(model)
    }
    for name, table in by_name(plan).items():
        mapping = context.id_mappings[name]
        assert mapping.vocabulary_size == table.rows
        assert made[name].embeddings.shape == (
            table.rows,
            table.embedding_dim,
        )
        embeddings = made[name].embeddings
        assert table.table_bytes == embeddings.numpy().nbytes
        assert table.state_bytes == model.optimizer.state_bytes(embeddings)
        found = dataset.id_frequencies(name)
        rows = mapping.row_counts(found.ids, found.counts)
        own = rows[mapping.num_special_rows :].sum() / found.counts.sum()
        if table.mapping == "vocabulary":
            assert own == pytest.approx(table.covered_share)
            assert mapping.num_ids == table.kept_ids
        assert table.ids == len(found) and table.curve.ranks[-1] == len(found)
        assert table.curve.covered[-1] == pytest.approx(1.0)


def test_what_is_configured_stays(tmp_path):
    config, work = experiments.make(tmp_path, "tables.tags.combiner=sum")
    plan, _ = planned(config, work)
    tables = by_name(plan)
    assert tables["user"].embedding_dim == 3
    assert tables["position"].embedding_dim <= config.model.embedding_dim
    assert tables["city"].mapping == "hash"
    # Two buckets an id where memory is no matter.
    assert tables["city"].section()["num_buckets"] == 6
    assert tables["tags"].section()["combiner"] == "sum"


def make_rare(tmp_path, num_rows=600):
    """Requests that hardly come twice beside users that always do."""
    rng = np.random.default_rng(0)
    schema = schema_lib.Schema(
        id_features={
            "request": schema_lib.IdFeature(dtype="string", table="request"),
            "user": schema_lib.IdFeature(dtype="int64", table="user"),
            "never": schema_lib.IdFeature(dtype="int64", table="never"),
        },
        labels=("click",),
    )
    rows = [
        {
            "request": f"r{min(k, num_rows - 5)}",
            "user": int(rng.zipf(1.5)) % 50,
            "click": float(k % 2),
        }
        for k in range(num_rows)
    ]
    splits = {name: rows for name in schema_lib.SPLITS}
    datasets.write_dataset(tmp_path / "w" / "dataset", schema, splits)
    path = tmp_path / "rare.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "rare",
                "source": {"format": "csv", "files": "log.csv"},
                "features": {
                    "request": {"type": "id", "dtype": "string"},
                    "user": {"type": "id", "dtype": "int64"},
                    "never": {"type": "id", "dtype": "int64"},
                },
                "labels": ["click"],
                "split": {"by": "hash", "columns": ["user"]},
            }
        ),
        "utf-8",
    )
    return path


def test_ids_that_hardly_come_twice_are_hashed(tmp_path):
    path = make_rare(tmp_path)
    dataset = data.open_dataset(tmp_path / "w" / "dataset")
    config = config_lib.load(path)
    free = by_name(planning.plan(config, dataset))
    assert free["request"].mapping == "hash"
    assert free["request"].num_buckets == 2 * free["request"].ids
    assert free["user"].mapping == "vocabulary"
    assert "More than half" in free["request"].reason
    # No id: the special rows alone, which a vocabulary must allow.
    assert (free["never"].rows, free["never"].kept_ids) == (2, 0)
    tight = planning.plan(config, dataset, budget=30_000)
    assert tight.bytes <= 30_000
    small = by_name(tight)
    assert small["user"].kept_ids == free["user"].kept_ids
    assert 1 <= small["request"].num_buckets < free["request"].num_buckets
    for table in tight.sections().values():
        config_lib.TableConfig.model_validate(table)


def test_refusals_of_the_room(tmp_path):
    config, work = experiments.make(tmp_path)
    with pytest.raises(InputError, match="smallest that works"):
        planned(config, work, budget=10)
    with pytest.raises(InputError, match="--coverage"):
        planned(config, work, coverage=1.5)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The commands on one small dataset, and the folder."""
    base = tmp_path_factory.mktemp("plan")
    path = make_rare(base)
    work = str(base / "w")
    words = ["plan", "--workdir", work, "--config", str(path)]
    lines = {
        "whole": [*words, "--report", "--budget", "40 kB"],
        "tight": [*words, "--budget", "100"],
        "malformed": [*words, "--budget", "much"],
        "no config": words[:3],
        "table": [*words, "--set", "tables.other.min_count=2"],
        "feature": [*words, "--set", "features.user.table=people"],
        "no dataset": ["plan", "--workdir", str(base / "absent")],
    }
    found = shop.run_in_one_process(list(lines.values()))
    return base, dict(zip(lines, found, strict=True))


def test_command_writes_what_it_prints(ended):
    base, results = ended
    done = results["whole"]
    assert done.status == 0, done.err
    text = (base / "w" / "plan.yaml").read_text("utf-8")
    assert text in done.out
    for name in ("request", "user", "never"):
        assert name in done.out
    plan = json.loads((base / "w" / "plan.json").read_text("utf-8"))
    assert plan["budget"] == 40_000
    size = sum(t["table_bytes"] + t["state_bytes"] for t in plan["tables"])
    assert size <= 40_000
    assert plan["yaml"] == text


def test_page_has_each_table_and_its_pictures(ended):
    base, _ = ended
    page = page_reader.PageReader(
        (base / "w" / "report" / "plan.html").read_text("utf-8")
    )
    for phrase in (
        "rare: plan of the tables",
        "The budget is 40.0 kB",
        "request: {mapping: hash",
        "A vocabulary of",
        "A hash with",
        "The training rows hold no id of this table.",
        "rowwise_adagrad (configured)",
    ):
        assert phrase in page.text, phrase
    assert not page.open_tags
    drawn = page.figures()
    assert set(drawn) == {
        "memory",
        *(
            f"{kind}-{index}"
            for kind in ("frequency", "coverage", "collisions", "memory")
            for index in (0, 1)
        ),
    }
    assert set(drawn) <= set(page.ids)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tight", "the smallest that works is"),
        ("malformed", "--budget: a size must be positive"),
        ("no config", "must hold a config.yaml"),
        ("table", "tables.other"),
        ("feature", "user"),
        ("no dataset", "Run `tfplugin preprocess`"),
    ],
)
def test_command_refuses(ended, name, says):
    shop.check_refused(ended[1][name], says)


def test_page_refuses_what_is_no_plan(tmp_path):
    _, work = experiments.make(tmp_path)
    with pytest.raises(InputError, match="Run `tfplugin plan`"):
        plan_page.write(work)
    work.plan_json.write_text('{"name": "x"}', "utf-8")
    with pytest.raises(InputError, match="dataset_fingerprint"):
        plan_page.write(work)
