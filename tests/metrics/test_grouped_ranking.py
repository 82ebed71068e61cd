import math
import tempfile

import keras_rs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tfplugin import metrics
from tfplugin.metrics import grouped_ranking

ROWS = st.lists(
    st.tuples(
        st.integers(-3, 3),  # group
        st.sampled_from([0.0, 0.0, 1.0]),  # label
        st.integers(-2, 2),  # score, often tied
        st.sampled_from([0.0, 1.0, 3.0]),  # weight
    ),
    max_size=40,
)


def _ranked(rows, k, expected_rows=10, batch=7):
    with tempfile.TemporaryDirectory() as folder:
        ranking = metrics.GroupedRanking(folder, expected_rows)
        for start in range(0, len(rows), batch):
            keys, labels, scores, weights = zip(
                *rows[start : start + batch], strict=True
            )
            ranking.update(np.array(keys, np.int64), labels, scores, weights)
        return ranking.result(k)


def _reference(rows, k):
    """Group by group, with sklearn, whose NDCG shares ties alike."""
    areas, sizes, gains = [], [], []
    for group in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == group and row[3] > 0]
        labels = np.array([row[1] for row in mine])
        scores = np.array([row[2] for row in mine], np.float64)
        if 0 < labels.sum() < len(labels):
            areas.append(sklearn_metrics.roc_auc_score(labels, scores))
            sizes.append(len(mine))
        if labels.sum():
            gains.append(
                1.0
                if len(mine) == 1
                else sklearn_metrics.ndcg_score([labels], [scores], k=k)
            )
    return areas, sizes, gains


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(1, 5))
def test_groups_are_ranked_as_one_by_one(rows, k):
    found = _ranked(rows, k)
    areas, sizes, gains = _reference(rows, k)
    assert (found["groups"], found["rows"]) == (len(areas), sum(sizes))
    assert found["ndcg_groups"] == len(gains)
    if areas:
        expected = np.average(areas, weights=sizes)
        assert found["auc"] == pytest.approx(expected)
    else:
        assert math.isnan(found["auc"])
    if gains:
        assert found["ndcg"] == pytest.approx(np.mean(gains))
    else:
        assert math.isnan(found["ndcg"])


def test_ndcg_is_that_of_keras_rs_where_no_scores_tie():
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 12)) < 0.3).astype(np.float32)
    labels[:, 0] = 1.0
    scores = rng.permutation(600).reshape(50, 12).astype(np.float32)
    reference = keras_rs.metrics.NDCG(k=5)
    reference.update_state(labels, scores)
    keys = np.repeat(np.arange(50), 12)
    rows = list(
        zip(keys, labels.ravel(), scores.ravel(), np.ones(600), strict=True)
    )
    assert _ranked(rows, 5)["ndcg"] == pytest.approx(
        float(reference.result()), rel=1e-5
    )


def test_neither_order_nor_partitions_matter(monkeypatch):
    rng = np.random.default_rng(1)
    rows = [
        (int(key), float(label), float(score), 1.0)
        for key, label, score in zip(
            rng.integers(-(2**62), 2**62, 40)[rng.integers(0, 40, 500)],
            rng.integers(0, 2, 500),
            rng.integers(0, 9, 500),
            strict=True,
        )
    ]
    whole = _ranked(rows, 3)
    monkeypatch.setattr(grouped_ranking, "PARTITION_ROWS", 50)
    mixed = [rows[k] for k in rng.permutation(500)]
    parted = _ranked(mixed, 3, expected_rows=500, batch=500)
    assert parted == pytest.approx(whole)


def test_partitions_hold_a_part_of_the_rows_each(monkeypatch, tmp_path):
    monkeypatch.setattr(grouped_ranking, "PARTITION_ROWS", 100)
    ranking = metrics.GroupedRanking(tmp_path, 1000)
    # Neighbours, as users' numbers are.
    ranking.update(np.arange(1000), np.ones(1000), np.ones(1000), np.ones(1000))
    sizes = [path.stat().st_size // 16 for path in tmp_path.iterdir()]
    assert len(sizes) == 10
    assert sum(sizes) == 1000
    assert max(sizes) < 160


def test_rows_without_a_group_are_left_out_and_nan_shows(tmp_path):
    ranking = metrics.GroupedRanking(tmp_path, 4)
    keys = np.array([-(2**63)] * 2 + [5] * 2)
    ranking.update(keys, [0, 1, 0, 1], [1.0, 0.0, 0.0, 1.0], np.ones(4))
    found = ranking.result()
    assert (found["auc"], found["groups"]) == (1.0, 1)
    ranking.update(np.array([5]), [1], [float("nan")], [0.0])
    assert ranking.result()["auc"] == 1.0
    ranking.update(np.array([5]), [1], [float("nan")], [1.0])
    assert math.isnan(ranking.result()["auc"])


def test_ndcg_needs_a_rank(tmp_path):
    with pytest.raises(ValueError, match="k=0"):
        metrics.GroupedRanking(tmp_path, 1).result(k=0)
