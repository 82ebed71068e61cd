import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import config
from tfplugin.config import tables_optimizer
from tfplugin.errors import InputError

MINIMAL = {
    "name": "small",
    "source": {"format": "csv", "files": "log.csv"},
    "features": {"item": {"type": "id", "dtype": "int64"}},
    "labels": ["click", "buy"],
    "split": {"by": "hash", "columns": ["item"]},
}
ALOUD = """
training:
  tables:
    rule: lazy_adam
    learning_rate: 0.01
    bias_correction: row
    clip_row_norm: 1.0
    row_rate: {law: power_frequency, exponent: 0.5, floor: 0.05}
    counts:
      source: both
      unit: batches
      half_life: 100000
      weights: {occurrences: 0, click: 1}
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    return file


def test_all_of_it_is_read(path):
    path.write_text(yaml.safe_dump(MINIMAL) + ALOUD)
    tables = config.load(path).training.tables
    assert tables.constants() == {"bias_correction": "row"}
    assert tables.options()["clip_row_norm"] == 1.0
    assert tables.row_rate.law == "power_frequency"
    assert tables.row_rate.constants() == {"exponent": 0.5, "floor": 0.05}
    assert tables.counts.from_dataset and tables.counts.grow_online
    assert tables.counts.weights == {"occurrences": 0.0, "click": 1.0}


def test_a_laws_name_alone_is_the_law_by_default(path):
    short = config.load(path, ["training.tables.row_rate=tail_decrease"])
    long = config.load(path, ["training.tables.row_rate.law=tail_decrease"])
    assert short.training.tables.row_rate == long.training.tables.row_rate
    default = config.load(path).training.tables
    assert default.row_rate.law == "log_frequency"
    assert default.constants() == default.row_rate.constants() == {}
    assert default.counts.weights == {"occurrences": 1.0}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("momentum=0.5", ["training.tables", "sgd", "rowwise_adagrad takes"]),
        ("row_rate=log", ["training.tables.row_rate.law", "'log'"]),
        ("row_rate=3", ["training.tables.row_rate", "section"]),
        ("row_rate={exponent: 0.5}", ["row_rate", "log_frequency takes"]),
        ("row_rate={exponnt: 0.5}", ["row_rate.exponnt", "`exponent`"]),
        ("row_rate={law: constant, floor: 0.1}", ["row_rate", "`floor`"]),
        ("row_rate={floor: 0.5, cap: 0.1}", ["row_rate", "`cap`"]),
        ("row_rate={cap: -1}", ["row_rate.cap", "greater"]),
        ("row_rate={warm_up_steps: 1.5}", ["row_rate.warm_up_steps"]),
        (
            "row_rate={law: saturating_frequency, threshold: 0}",
            ["row_rate", "`threshold`"],
        ),
        ("row_rate={law: tail_decrease, lowest: 2}", ["`highest`"]),
        ("counts={source: offline}", ["counts.source", "'offline'"]),
        ("counts={unit: batches}", ["counts", "`unit`", "online"]),
        ("counts={half_life: 9}", ["counts", "`half_life`", "online"]),
        ("counts={source: both, half_life: 0}", ["counts.half_life"]),
        ("counts={source: online, weights: {buy: 1}}", ["`weights`"]),
        ("counts={weights: {buy: 0}}", ["counts", "above 0"]),
        ("counts={weights: {buy: -1}}", ["counts.weights.buy"]),
        ("counts={weights: {byu: 1}}", ["`byu`", "labels are buy, click"]),
        ("clip_value=0", ["clip_value", "greater"]),
        ("compound_weight_decay=true", ["needs `weight_decay`"]),
        ("beta_1=1.0", ["beta_1", "less"]),
        ("learning_rate_power=0.5", ["learning_rate_power", "less"]),
        ("special_rate=0.5", ["special_rate", "unknown key"]),
    ],
)
def test_refusals_are_one_line_that_names_the_key(path, override, words):
    with pytest.raises(InputError) as refusal:
        config.load(path, [f"training.tables.{override}"])
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_two_clippings_are_refused(path):
    clips = ["clip_value=1", "clip_global_norm=1"]
    with pytest.raises(InputError, match="clip_value and clip_global_norm"):
        config.load(path, [f"training.tables.{clip}" for clip in clips])


def test_counts_without_a_law_that_reads_them_are_refused(path):
    with pytest.raises(InputError, match="`tables.counts`.*`constant`"):
        config.load(
            path,
            [
                "training.tables.row_rate=constant",
                "training.tables.counts.source=online",
            ],
        )


def test_a_remedy_that_reads_counts_may_say_which(path):
    changes = [
        "training.tables.row_rate=constant",
        "training.tables.counts.source=both",
    ]
    remedies = "training.remedies={{{}: true}}".format
    read = config.load(path, [*changes, remedies("frequency_weight_decay")])
    assert read.training.tables.counts.source == "both"
    assert read.training.tables.row_rate.law == "constant"
    with pytest.raises(InputError, match="`tables.counts`.*`constant`"):
        config.load(path, [*changes, remedies("embedding_reset")])


VALUES = {
    "bias_correction": st.sampled_from(["global", "row"]),
    "replay_skipped_steps": st.booleans(),
    "learning_rate_power": st.floats(-1, 0),
    "start_step": st.integers(0, 100),
    "warm_up_steps": st.integers(0, 100),
    "threshold": st.floats(0.5, 100),
    "floor": st.floats(0, 0.5),
    "cap": st.floats(0.5, 2),
    "lowest": st.floats(0, 0.5),
    "highest": st.floats(0.5, 2),
}


@st.composite
def sections(draw):
    """Any rule with any law, each constant that it takes given or not."""
    rule = draw(st.sampled_from(list(tables_optimizer.RULE_CONSTANTS)))
    law = draw(st.sampled_from(list(tables_optimizer.LAW_CONSTANTS)))

    def some(names):
        chosen = draw(st.lists(st.sampled_from(names), unique=True))
        default = st.floats(0, 0.875)
        return {name: draw(VALUES.get(name, default)) for name in chosen}

    return {
        "rule": rule,
        **some(tables_optimizer.RULE_CONSTANTS[rule]),
        "row_rate": {
            "law": law,
            **some(tables_optimizer.LAW_CONSTANTS[law]),
        },
    }


@settings(deadline=None)
@given(sections())
def test_what_dump_writes_load_reads_back(section):
    raw = config.ExperimentConfig.model_validate(
        {
            **MINIMAL,
            "source": {"format": "csv", "files": ["/log.csv"]},
            "training": {"tables": section},
        }
    )
    again = config.ExperimentConfig.model_validate(
        yaml.safe_load(config.dump(raw))
    )
    assert again == raw
    tables = again.training.tables
    assert {"rule": tables.rule, **tables.constants()} == {
        name: value for name, value in section.items() if name != "row_rate"
    }
    assert {"law": tables.row_rate.law, **tables.row_rate.constants()} == (
        section["row_rate"]
    )


@given(sections(), st.data())
def test_a_constant_of_another_rule_is_refused(section, data):
    taken = tables_optimizer.RULE_CONSTANTS[section["rule"]]
    others = {
        name
        for names in tables_optimizer.RULE_CONSTANTS.values()
        for name in names
        if name not in taken
    }
    name = data.draw(st.sampled_from(sorted(others)))
    value = data.draw(VALUES.get(name, st.floats(0, 0.875)))
    with pytest.raises(pydantic.ValidationError, match=f"`{name}` is for"):
        config.TablesOptimizerConfig.model_validate({**section, name: value})
