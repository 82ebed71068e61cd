"""Which negatives are kept, and that their rate can be undone."""

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs import row_hash
from beam_jobs.reading import sources
from beam_jobs.roles import columns
from beam_jobs.roles import negatives
from tfplugin import config


def batch(count=20_000, positives=0.1, file=3):
    rng = np.random.default_rng(1)
    click = (rng.random(count) < positives).astype(np.float32)
    buy = np.where(click == 1, rng.integers(0, 2, count), 0)
    return columns.ExampleBatch(
        file=file,
        positions=np.arange(count) * 40,
        occurrences=np.zeros(count, np.int64),
        rows=pa.RecordBatch.from_pydict(
            {
                "click": pa.array(click, mask=rng.random(count) < 0.05),
                "buy": pa.array(buy.astype(np.float32)),
            }
        ),
        splits=rng.choice(3, count, p=[0.7, 0.2, 0.1]).astype(np.uint8),
    )


def settings(**changes):
    return config.NegativesConfig(
        **{"labels": ["click"], "rate": 0.2, **changes}
    )


def test_positives_and_other_splits_are_kept_whole():
    rows = batch()
    keep = negatives.kept(rows, settings())
    click = np.array(rows.rows["click"].to_pylist()) == 1
    sampled = (rows.splits == 0) & ~click
    assert keep[~sampled].all()
    # Five standard deviations of a share of 12,000 rows.
    assert abs(keep[sampled].mean() - 0.2) < 0.02


def test_a_label_that_was_not_observed_is_no_positive():
    rows = batch()
    null = rows.rows["click"].is_null().to_numpy(zero_copy_only=False)
    keep = negatives.kept(rows, settings())
    train = null & (rows.splits == 0)
    assert 0.1 < keep[train].mean() < 0.3


def test_any_of_the_labels_makes_a_positive():
    rows = batch()
    keep = negatives.kept(rows, settings(labels=["click", "buy"], rate=0.01))
    buy = rows.rows["buy"].to_numpy() == 1
    assert keep[buy].all() and (buy & (rows.splits == 0)).any()


def test_what_is_kept_is_a_function_of_seed_and_place():
    rows = batch()
    keep = negatives.kept(rows, settings())
    for first in (0, 7, 5000):
        part = np.arange(len(keep)) >= first
        np.testing.assert_array_equal(
            negatives.kept(rows.take(part), settings()), keep[part]
        )
    assert (negatives.kept(rows, settings(seed=1)) != keep).any()
    assert (negatives.kept(batch(file=4), settings()) != keep).any()
    # Whoever is kept at a rate is kept at a higher one.
    assert negatives.kept(rows, settings(rate=0.5))[keep].all()
    assert negatives.kept(rows, settings(rate=1.0)).all()


def test_rows_that_are_kept_are_no_run_of_the_shuffled_order():
    rows = batch()
    keep = negatives.kept(rows, settings())
    keys = row_hash.row_keys(
        file=rows.file,
        positions=rows.positions,
        occurrences=rows.occurrences,
        seed=0,
    )
    correlation = np.corrcoef(row_hash.fractions(keys), keep)[0, 1]
    assert abs(correlation) < 0.05


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_rate_can_be_undone(rate):
    rows = batch(positives=0.1)
    train = rows.take(rows.splits == 0)
    click = np.array(train.rows["click"].to_pylist()) == 1
    whole = click.mean()
    keep = negatives.kept(train, settings(rate=rate))
    p = click[keep].mean()
    # As schema.NegativeSampling says.
    undone = p * rate / (1 - p + p * rate)
    assert p > whole * 1.5
    assert abs(undone / whole - 1) < 0.1


def test_what_was_left_out_is_counted():
    rows = batch()
    keep = negatives.kept(rows, settings())
    count, found = negatives.Sample(settings()).process(rows)
    assert (count.tag, count.value) == (
        sources.COUNTS,
        ("rows_sampled_out", int((~keep).sum())),
    )
    assert found.rows.equals(rows.rows.filter(pa.array(keep)))
    (same,) = negatives.Sample(settings(rate=1)).process(rows)
    assert same is rows
    empty = rows.take(np.zeros(len(keep), np.bool_))
    assert [found for found in negatives.Sample(settings()).process(empty)] == [
        empty
    ]
