"""Statistics as stored state: merged, kept as bytes, made by Beam."""

import pickle

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.runners.portability import fn_api_runner
from apache_beam.testing import util
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from beam_jobs.counting import count_files
from beam_jobs.roles.columns import ExampleBatch
from beam_jobs.summaries import sketches
from beam_jobs.summaries import states
from beam_jobs.summaries import statistics
from tfplugin import schema as schemas
from tfplugin.errors import InputError

SCHEMA = schemas.Schema(
    id_features={
        "user": schemas.IdFeature(dtype="string", table="users"),
        "item": schemas.IdFeature(dtype="int64", table="items"),
        "cart": schemas.IdFeature(dtype="int64", table="items", is_list=True),
        "words": schemas.IdFeature(dtype="string", table="w", is_list=True),
    },
    dense_features={"price": schemas.DenseFeature()},
    labels=("click", "buy"),
)
WORDS = ["né", "日本", "🙂", "a", ""]


def batch_of(num_rows, seed=0, position=0, empty=False):
    """Rows with nulls, empty lists and missing ids inside lists."""
    rng = np.random.default_rng(seed)
    hole = (lambda: True) if empty else (lambda: rng.random() < 0.2)
    draw = rng.integers

    def column(value, kind):
        values = [None if hole() else value() for _ in range(num_rows)]
        return pa.array(values, kind)

    def lists(value, kind):
        rows = [
            [] if hole() else [value() for _ in range(draw(1, 4))]
            for _ in range(num_rows)
        ]
        return pa.array(rows, pa.list_(kind))

    item = lambda: -(2**63) if draw(9) == 0 else int(draw(-4, 5))  # noqa: E731
    rows = {
        "user": column(lambda: f"ü{draw(50)}", pa.string()),
        "item": column(lambda: int(draw(-4, 5)), pa.int64()),
        "cart": lists(item, pa.int64()),
        "words": lists(lambda: WORDS[draw(5)], pa.string()),
        "price": column(lambda: float(rng.standard_normal()), pa.float32()),
        "click": column(lambda: float(draw(2)), pa.float32()),
        "buy": column(lambda: float(draw(2)), pa.float32()),
    }
    return ExampleBatch(
        0,
        np.arange(position, position + num_rows),
        np.zeros(num_rows, np.int64),
        pa.RecordBatch.from_pydict(rows),
        np.zeros(num_rows, np.uint8),
    )


def pieces_of(batch, cuts):
    bounds = [0, *sorted(cuts), batch.rows.num_rows]
    for first, last in zip(bounds, bounds[1:], strict=False):
        rows = np.zeros(batch.rows.num_rows, np.bool_)
        rows[first:last] = True
        yield batch.take(rows)


def state_of(*batches, kept=True):
    state = states.State(SCHEMA, kept)
    for batch in batches:
        state.add(batch)
    return state


def records_of(state):
    """Records of a state, whose tables have no ids yet."""
    shard = schemas.Shard(name="p", rows=0, bytes=0, crc32c=0)
    tables = [
        count_files.TableSummary(table, shard, 0, 0)
        for table in SCHEMA.table_features()
    ]
    return statistics.to_records(state, SCHEMA, tables)


def test_numbers_against_plain_python():
    batch = batch_of(300)
    records = records_of(state_of(batch))
    rows = batch.rows.to_pylist()
    clicks = [r["click"] for r in rows if r["click"] is not None]
    assert records["labels"]["click"].observed == len(clicks)
    assert records["labels"]["click"].positives == sum(clicks)
    carts = [row["cart"] for row in rows]
    ids = [i for cart in carts for i in cart if i != schemas.MISSING_INT64]
    items = [row["item"] for row in rows if row["item"] is not None]
    cart = records["columns"]["cart"]
    assert cart.values == len(ids) and cart.distinct == len(set(ids))
    assert {h.id: h.upper for h in cart.heavy_hitters} == {
        i: ids.count(i) for i in set(ids)
    }
    lengths = sorted(len(cart) for cart in carts)
    assert cart.length_quantiles[50] == lengths[299 * 50 // 100]
    table = records["tables"]["items"]
    missing = sum(map(len, carts)) - len(ids) + 300 - len(items)
    assert table.missing == missing
    assert table.empty_lists == lengths.count(0)
    words = {w for row in rows for w in row["words"]} - {""}
    hitters = records["columns"]["words"].heavy_hitters
    assert {hit.id for hit in hitters} == words
    assert records["columns"]["user"].length_quantiles == ()


@given(
    st.lists(st.integers(0, 60), max_size=5), st.randoms(use_true_random=False)
)
@settings(max_examples=25, deadline=None)
def test_any_division_and_order_gives_the_same_bytes(cuts, random):
    batch = batch_of(60)
    whole = state_of(batch)
    parts = [state_of(part) for part in pieces_of(batch, cuts)]
    random.shuffle(parts)
    merged = states.State(SCHEMA)
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert merged.to_bytes() == whole.to_bytes()
    assert records_of(merged) == records_of(whole)


def test_a_day_is_added_without_the_old_rows():
    first, second = batch_of(200, seed=1), batch_of(90, seed=2, position=200)
    stored = state_of(first).to_bytes()
    old = states.State.from_bytes(stored)
    merged = states.merge_states(old, state_of(second))
    assert merged.to_bytes() == state_of(first, second).to_bytes()
    assert merged.rows == 290
    assert old.to_bytes() == stored


def test_only_occurrences_of_ids_decay():
    first, second = batch_of(200, seed=1), batch_of(90, seed=2, position=200)
    old, new = state_of(first), state_of(second)
    merged = records_of(states.merge_states(old, new, factor=0.5))
    whole = records_of(state_of(first, second))
    assert merged["labels"] == whole["labels"]
    assert merged["dense"] == whole["dense"]
    assert merged["tables"] == whole["tables"]
    user, plain = merged["columns"]["user"], whole["columns"]["user"]
    assert user.distinct == plain.distinct
    old_user = records_of(old)["columns"]["user"]
    new_user = records_of(new)["columns"]["user"]
    assert user.values == old_user.values / 2 + new_user.values
    hits = {hit.id: hit.estimate for hit in new_user.heavy_hitters}
    for hit in old_user.heavy_hitters:
        hits[hit.id] = hits.get(hit.id, 0) + hit.estimate / 2
    top = user.heavy_hitters[0]
    assert top.lower == top.estimate == hits[top.id]


@pytest.mark.parametrize("factor", [0, -1, 1.5])
def test_a_factor_is_a_share(factor):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
        states.merge_states(state_of(), state_of(), factor)


def test_columns_without_values():
    state = state_of(batch_of(5, empty=True))
    records = records_of(states.State.from_bytes(state.to_bytes()))
    for sketch in records["columns"].values():
        assert (sketch.values, sketch.distinct) == (0, 0)
        assert sketch.heavy_hitters == ()
    assert records["columns"]["cart"].length_quantiles == (0.0,) * 101
    assert records["dense"]["price"].missing == 5


def test_a_state_without_sketches_has_the_same_statistics():
    batch = batch_of(50)
    plain, full = (records_of(state_of(batch, kept=k)) for k in (False, True))
    assert plain.pop("columns") == {} and full.pop("columns")
    assert plain == full
    state = state_of(batch, kept=False)
    assert states.State.from_bytes(state.to_bytes()).ids == {}


def test_states_of_different_columns_are_not_added_up():
    other = states.State(SCHEMA.select(features=["user", "price"]))
    with pytest.raises(InputError, match="must be of the same columns"):
        state_of().merge(other)
    with pytest.raises(InputError, match=r"dataset\.sketches"):
        state_of().merge(state_of(kept=False))


def test_damaged_bytes_are_refused():
    data = state_of(batch_of(20)).to_bytes()
    cases = {
        data[:10]: "10 bytes",
        data[:-3]: "checksum does not fit",
        data[:100] + b"x" + data[101:]: "checksum does not fit",
        b"PAR1" + data[4:]: "begins with b'PAR1",
        data[:8] + b"\x09" + data[9:]: "version 9 instead of 1",
    }
    for damaged, message in cases.items():
        with pytest.raises(InputError, match=message):
            states.State.from_bytes(damaged, "sketches/state-00000.bin")


def test_counts_of_ids_come_from_the_files_of_frequencies():
    shard = schemas.Shard(name="p", rows=2, bytes=1, crc32c=1)
    files = [
        count_files.TableSummary(
            table, shard, 3, 1, (sketches.count_sketch(np.array([1, 2])),)
        )
        for table in SCHEMA.table_features()
    ]
    records = statistics.to_records(state_of(), SCHEMA, [*files, *files])
    quantiles = records["tables"]["users"].count_quantiles
    assert (quantiles[0], quantiles[100]) == (1, 2)


@pytest.mark.parametrize("parts", [1, 6])
def test_beam_gives_one_state_however_it_bundles(parts):
    batch = batch_of(120)
    batches = list(pieces_of(batch, range(120 // parts, 120, 120 // parts)))
    wanted = state_of(batch).to_bytes()

    def check(found):
        (state,) = found
        assert state.to_bytes() == wanted

    with beam.Pipeline(runner=fn_api_runner.FnApiRunner()) as pipeline:
        found = (
            pipeline
            | beam.Create(batches)
            | beam.Reshuffle()
            | statistics.Summarize(SCHEMA)
        )
        util.assert_that(found, check)
