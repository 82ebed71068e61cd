"""Numbers and page of the benchmark of remedies, from made-up results."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.multi_epoch import page
from benchmarks.multi_epoch import statistics
from benchmarks.multi_epoch import summary
from benchmarks.multi_epoch import tables


def _naive_auc(labels, scores, weights):
    above = pairs = 0.0
    for i, j in itertools.product(range(len(labels)), repeat=2):
        if labels[i] > labels[j]:
            pair = weights[i] * weights[j]
            pairs += pair
            above += pair * (scores[i] > scores[j])
            above += pair * (scores[i] == scores[j]) / 2
    return above / pairs if pairs else np.nan


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.integers(-3, 3), st.sampled_from([0, 0.5, 2])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_auc_counts_pairs(rows):
    labels, scores, weights = (
        np.array(one, float) for one in zip(*rows, strict=True)
    )
    np.testing.assert_allclose(
        statistics.auc(labels, scores, weights),
        _naive_auc(labels, scores, weights),
    )


def test_auc_refuses_what_has_no_order():
    with pytest.raises(ValueError, match="must be finite. Received: 1"):
        statistics.auc(np.array([0, 1]), np.array([0.0, np.nan]))
    assert np.isnan(statistics.auc(np.ones(2), np.zeros(2)))


def _rows(rng, n=60, users=12):
    labels = rng.integers(0, 2, n)
    # Few distinct scores, so that they tie; some rows have no label.
    scores = [np.round(rng.normal(size=n) + labels, 1) for _ in range(4)]
    weights = rng.choice([0.0, 1.0, 1.0, 2.0], n)
    groups = np.array(["u", "v", "w"])[rng.integers(0, 3, n)]
    groups = np.char.add(groups, rng.integers(0, users // 3, n).astype(str))
    return labels, scores, weights, groups


def test_resamples_are_those_of_a_loop():
    labels, scores, weights, groups = _rows(np.random.default_rng(0))
    users = statistics.Users(groups, resamples=7, seed=5)
    found = users.aucs(labels, scores[0], weights)
    assert found[0] == statistics.auc(labels, scores[0], weights)
    rng = np.random.default_rng(5)
    names = np.unique(groups)
    for value in found[1:]:
        drawn = names[rng.integers(len(names), size=len(names))]
        rows = np.concatenate([np.flatnonzero(groups == u) for u in drawn])
        np.testing.assert_allclose(
            value, _naive_auc(labels[rows], scores[0][rows], weights[rows])
        )


def test_a_difference_is_paired():
    labels, scores, weights, groups = _rows(np.random.default_rng(1), n=300)
    users = statistics.Users(groups, resamples=50)
    draws = [users.aucs(labels, one, weights) for one in scores]
    found = statistics.difference(draws[:2], draws[2:])
    expected = (draws[0] + draws[1] - draws[2] - draws[3]) / 2
    assert found.difference == pytest.approx(expected[0])
    low, high = np.percentile(expected[1:], [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.resamples == 50
    same = statistics.difference(draws[:2], draws[1::-1])
    assert same == statistics.Difference(0.0, 0.0, 0.0, 50)
    again = statistics.Users(groups, resamples=50)
    np.testing.assert_array_equal(
        again.aucs(labels, scores[0], weights), draws[0]
    )


def test_a_difference_needs_positives_in_the_resamples():
    labels = np.array([1, 0, 0, 0])
    users = statistics.Users(np.arange(4))
    draws = [users.aucs(labels, np.arange(4.0))]
    with pytest.raises(ValueError, match="Nine tenths of the resamples"):
        statistics.difference(draws, draws)


def test_intervals_cover_the_truth():
    # AUC of N(1, 1) against N(0, 1) is 0.7602; 60 intervals of 95 %.
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        labels = np.repeat([0, 1], 150)
        users = statistics.Users(np.arange(300) % 150, resamples=60)
        good = users.aucs(labels, rng.normal(size=300) + labels)
        none = users.aucs(labels, rng.normal(size=300))
        found = statistics.difference([good], [none])
        covered += found.low <= 0.2602 <= found.high
    assert covered >= 50


ARMS = ("none", "plain, tuned", "FAL, tuned", "MEDA, tuned", "CowClip", "<AR>")
OBJECTIVES = {"click": (0.05, 35_000), "buy": (0.002, 1_400)}


def _curve(arm, name, seed):
    slope = {"none": -0.02, "plain, tuned": -0.01, "<AR>": -0.03}.get(arm, 0.0)
    level = 0.7 + 0.1 * (name == "buy") + 0.001 * seed
    return [level + slope * epoch for epoch in range(6)]


def _results():
    seeds = {
        arm: {
            str(seed): {
                split: {name: _curve(arm, name, seed) for name in OBJECTIVES}
                for split in ("validation", "test")
            }
            | {"cpu_seconds": 10.0}
            for seed in range(3)
        }
        for arm in ARMS
    }
    logs = ("shop", "films")
    rows = [
        {
            "log": log,
            "objective": name,
            "arm": "FAL, tuned",
            "against": "none",
            "epoch": epoch,
            "difference": 0.01,
            "low": low,
            "high": 0.02,
        }
        for log in logs
        for name in OBJECTIVES
        for epoch, low in ((4, 0.005), ("last", -0.001))
    ]
    steps = [100, 200, 300, 400]
    rising = [[0.6, 0.65, 0.68, 0.7], [0.6, 0.64, 0.67, 0.71]]
    claim_a = {
        "dense_rate": 0.001,
        "sparse": {"rule": "adagrad", "learning_rate": 0.05},
        "steps": steps,
        "dense": rising,
        "sparse_curves": [[0.66, 0.7, 0.72, 0.73]] * 2,
        "auc": 0.705,
        "steps_dense": 400,
        "steps_sparse": [150.0, 170.0],
    }
    claim_b = [
        {
            "fraction": fraction,
            "masked": masked,
            "positives": int(1000 * fraction),
            "auc": [[0.7, 0.69, 0.68, 0.66 + 0.02 * fraction]] * 2,
        }
        for fraction in (1.0, 0.5, 0.25)
        for masked in ("positives", "random rows")
    ]
    chunks = [[{"click": 0.6 + 0.01 * k, "buy": 0.7} for k in range(4)]] * 2
    return {
        "machine": "2 cores",
        "versions": {"tensorflow": "2.21.0"},
        "command": "python -m benchmarks.multi_epoch",
        "budget": {"cpu_hours_stated": 8, "cpu_hours_used": 7.5},
        "logs": {
            log: {
                "rows": {"train": 700_000, "test": 200_000},
                "objectives": {
                    name: {"rate": rate, "positives": positives}
                    for name, (rate, positives) in OBJECTIVES.items()
                },
            }
            for log in logs
        },
        "search": {
            log: {
                "FAL, tuned": {
                    "settings": [
                        {
                            "changes": {"training.tables.learning_rate": r},
                            "validation": {"click": [0.7, r], "buy": [0.6, r]},
                            "cpu_seconds": 12.3,
                        }
                        for r in (0.5, 0.6)
                    ],
                    "chosen": 1,
                }
            }
            for log in logs
        },
        "runs": {
            log: {
                arm: {
                    "changes": {},
                    "epochs": 6,
                    "stopped": arm == "plain, tuned",
                    "seeds": by_seed,
                }
                for arm, by_seed in seeds.items()
            }
            for log in logs
        },
        "comparisons": rows,
        "claims": {
            "a": {
                "shop": claim_a,
                "films": claim_a | {"steps_sparse": [None, 170.0]},
            },
            "b": {"shop": {"objective": "buy", "runs": claim_b}},
            "c": {
                "shop": {
                    "chunks": 5,
                    "passes": 3,
                    "auc": {"none": chunks, "MEDA": chunks},
                }
            },
        },
    }


def test_a_stopped_arm_ends_where_its_validation_is_best():
    results = _results()
    plain = summary.curve(results, "shop", "none", "click")
    assert plain.final == pytest.approx(0.601)
    assert plain.fall == pytest.approx(0.1)
    assert (plain.low[0], plain.high[0]) == pytest.approx((0.7, 0.702))
    stopped = summary.curve(results, "shop", "plain, tuned", "click")
    assert stopped.final == pytest.approx(0.701)
    seed = results["runs"]["shop"]["plain, tuned"]["seeds"]["0"]
    seed["validation"] = {"click": [0.1, 0.3, 0.2], "buy": [0.1, 0.1, 0.1]}
    assert summary.picked_epoch(seed) == 2


def test_the_text_says_what_won_and_what_did_not():
    texts = dict(summary.sentences(_results()))
    assert list(texts) == ["shop", "films"]
    assert (
        "falls from its best epoch to the last: click by 0.1000"
        in (texts["shop"])
    )
    assert "against 0.6510 without a remedy" in texts["shop"]
    assert "Worse than none: <AR> (-0.0500)." in texts["shop"]
    flat = _results()
    for arm in flat["runs"]["shop"].values():
        arm["seeds"] = flat["runs"]["shop"]["CowClip"]["seeds"]
    text = dict(summary.sentences(flat))["shop"]
    assert "nothing falls. No arm ends above" in text
    assert "No help, within .0005: plain, tuned, FAL, tuned" in text


def test_the_page_and_the_tables_are_written(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(_results()))
    html = tmp_path / "page.html"
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "benchmarks.md").write_text(
        "# Above\n<!-- multi_epoch: begin -->old<!-- multi_epoch: end -->\nend"
    )
    words = ["--results", path, "--html", html, "--docs", docs]
    page.main(list(map(str, words)))
    text = html.read_text()
    body = text[: text.index("<script>")]
    assert "8 CPU hours stated, 7.5 used" in body
    assert "&lt;AR&gt;" in body and "<AR>" not in body
    for heading in ("(a) “A sparse", "(b) “The rarer", "(c) “Rates"):
        assert heading in body
    assert "not reached" in body
    assert "Half of dense Adam&#x27;s steps or fewer: on 1 of 2 logs" in body
    assert "0.0200 is lost; with 1 in 4 of the positives 0.0350" in body
    assert "shop, mean over chunks: none 0.6575, MEDA 0.6575." in body
    assert "no difference shown" in body
    assert 'id="comparisons-picture"' in body
    written = (docs / "benchmarks.md").read_text()
    assert written.startswith("# Above\n<!-- multi_epoch: begin -->\n\n**shop")
    assert written.endswith("<!-- multi_epoch: end -->\nend")
    assert "| FAL, tuned | 0.7010 (0.7010) | 0.8010 (0.8010) | 0.7510 |" in (
        written
    )
    assert "| shop | Adam, 0.001 | adagrad, 0.05 | 0.7050 | 400 | 160 |" in (
        written
    )
    kept = (docs / "results" / "multi_epoch.json").read_text()
    assert kept == path.read_text()


def test_a_part_of_the_results_is_a_page():
    results = _results()
    for key in ("comparisons", "claims", "search"):
        del results[key]
    assert "The paper" not in page.html(results).split("<script>")[0]
    assert "| none |" in tables.markdown(results)
