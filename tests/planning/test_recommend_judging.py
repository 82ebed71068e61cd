import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin.planning import recommend_judging as judging


def _area(labels, scores, weights):
    """The weighted Mann-Whitney statistic, pair by pair."""
    won = total = 0.0
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] == 1 and labels[j] == 0:
                weight = weights[i] * weights[j]
                total += weight
                won += weight * (
                    (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
                )
    return won / total


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_influences_are_what_the_auc_does_when_a_group_weighs_more(seed):
    rng = np.random.default_rng(seed)
    count = 24
    labels = rng.integers(0, 2, count)
    labels[:2] = 0, 1
    scores = rng.integers(0, 6, count) / 7.0
    weights = rng.choice([0.0, 0.5, 1.0, 2.0], count)
    weights[:2] = 1.0
    groups = rng.integers(0, 5, count)
    found = judging.influences(labels, scores, weights, groups)
    step = 1e-4
    for group in range(found.size):
        more = weights * np.where(groups == group, 1.0 + step, 1.0)
        less = weights * np.where(groups == group, 1.0 - step, 1.0)
        slope = _area(labels, scores, more) - _area(labels, scores, less)
        assert found[group] == pytest.approx(slope / (2 * step), abs=1e-6)


def test_the_error_is_that_of_resampled_groups():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(300), 4)
    taste = rng.normal(0.0, 1.0, 300)[groups]
    labels = (rng.random(1200) < 1 / (1 + np.exp(1 - taste))).astype(float)
    one = taste + rng.normal(0.0, 1.0, 1200)
    other = taste + rng.normal(0.0, 1.3, 1200)
    weights = np.ones(1200)
    judge = judging.Judge({"click": 1.0})
    error = judge.error(
        {"click": judging.influences(labels, one, weights, groups)},
        {"click": judging.influences(labels, other, weights, groups)},
    )
    differences = []
    for _ in range(300):
        drawn = np.bincount(rng.integers(0, 300, 300), minlength=300)
        resampled = drawn[groups].astype(float)
        differences.append(
            _fast_area(labels, one, resampled)
            - _fast_area(labels, other, resampled)
        )
    assert error == pytest.approx(np.std(differences), rel=0.15)


def _fast_area(labels, scores, weights):
    order = np.argsort(scores)
    negative = (weights * (1 - labels))[order]
    positive = (weights * labels)[order]
    below = np.cumsum(negative) - negative
    return (positive * below).sum() / positive.sum() / negative.sum()


def test_one_class_alone_has_no_influences():
    found = judging.influences([1, 1], [0.1, 0.2], [1, 1], np.arange(2))
    assert np.isnan(found).all()


def test_an_objective_without_negatives_is_not_in_the_mean():
    judge = judging.Judge({"a": 0.5, "b": 0.0})
    assert judge.mean({"a": 0.7, "b": math.nan}) == 0.7
    assert judge.score({"a": 0.7, "b": math.nan}, {"a": 0.7}) == 0.7
    assert math.isnan(judge.mean({"b": math.nan}))
    none = np.full(3, np.nan)
    some = np.array([0.3, -0.3, 0.0])
    assert judge.error(
        {"a": some, "b": none}, {"a": np.zeros(3), "b": none}
    ) == pytest.approx(math.sqrt(0.18))


def test_an_objective_that_diverged_leaves_no_score():
    judge = judging.Judge({"a": 0.5, "b": 0.5})
    diverged = {"a": 0.9, "b": math.nan}
    assert math.isnan(judge.mean(diverged))
    assert math.isnan(judge.score(diverged, {"a": 0.7, "b": 0.7}))
    assert judging.best_of([diverged, {"a": 0.6, "b": 0.7}])["b"] == 0.7


@pytest.mark.parametrize("place", range(3))
def test_what_has_no_score_is_never_the_simplest(place):
    scores, complexities = [0.7, 0.7], [1, 2]
    scores.insert(place, math.nan)
    complexities.insert(place, 0)
    found = judging.simplest(scores, complexities, [1.0] * 3)
    assert complexities[found] == 1


def test_masked_rows_are_no_evidence():
    labels = np.array([1.0] * 50 + [0.0] * 1000)
    weights = np.ones(1050)
    assert judging.evidence(labels, weights) == pytest.approx(0.2)
    weights[:50] = 0.0
    assert judging.evidence(labels, weights) == 0.0


def test_an_objective_that_loses_counts_beyond_what_is_allowed():
    judge = judging.Judge({"a": 1.0, "b": 1.0})
    best = {"a": 0.7, "b": 0.8}
    assert judge.score({"a": 0.7, "b": 0.7996}, best) == pytest.approx(0.7498)
    assert judge.score({"a": 0.8, "b": 0.79}, best) == pytest.approx(
        0.795 - 0.0095
    )


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1.0), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    ),
    st.floats(0.0, 0.1),
)
def test_the_simplest_is_within_the_noise_and_none_simpler_is(pairs, noise):
    scores = [score for score, _ in pairs]
    complexities = [complexity for _, complexity in pairs]
    place = judging.simplest(scores, complexities, [noise] * len(pairs))
    assert scores[place] >= max(scores) - noise
    for score, complexity in pairs:
        if complexity < complexities[place]:
            assert score < max(scores) - noise
        if complexity == complexities[place]:
            assert score <= scores[place]
