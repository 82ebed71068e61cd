"""AUC and PRAUC against scikit-learn, a million scores, 0.1 % positive."""

import zlib

import numpy as np
import pytest
from sklearn import metrics as reference

from tests.metrics import score_streams
from tfplugin import metrics

SIZE = 1_000_000


def _check(labels, scores, *, weighted, from_logits, rng, tolerance=1e-4):
    labels = labels.astype(np.float32)
    scores = scores.astype(np.float32)
    weights = None
    if weighted:
        weights = rng.integers(0, 4, len(labels)).astype(np.float32)
    area, precision = metrics.AUC(from_logits), metrics.PRAUC(from_logits)
    # A first batch as in training, then larger ones to save time.
    edges = [0, 2048, *range(100_000, len(labels) + 1, 100_000)]
    for start, stop in zip(edges, edges[1:], strict=False):
        part = slice(start, stop)
        weight = None if weights is None else weights[part]
        area.update_state(labels[part], scores[part], weight)
        precision.update_state(labels[part], scores[part], weight)
    expected = reference.roc_auc_score(labels, scores, sample_weight=weights)
    assert abs(float(area.result()) - expected) < tolerance
    expected = reference.average_precision_score(
        labels, scores, sample_weight=weights
    )
    assert abs(float(precision.result()) - expected) < tolerance


def _generator(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


@pytest.mark.parametrize("name", score_streams.LOGITS)
def test_logits(name):
    rng = _generator(name)
    labels, scores = score_streams.logits(name, SIZE, rng)
    weighted = score_streams.LOGITS.index(name) % 2 == 0
    _check(labels, scores, weighted=weighted, from_logits=True, rng=rng)


def test_the_other_weighting():
    rng = _generator("other")
    labels, scores = score_streams.logits("narrow band", SIZE, rng)
    _check(labels, scores, weighted=True, from_logits=True, rng=rng)


@pytest.mark.parametrize(("alpha", "beta"), score_streams.BETAS)
def test_beta_distributed_probabilities(alpha, beta):
    rng = _generator(f"{alpha} {beta}")
    labels, scores = score_streams.beta_probabilities(alpha, beta, SIZE, rng)
    from_logits = (alpha, beta) in score_streams.BETAS[::2]
    if from_logits:
        scores = np.log(np.maximum(scores, 1e-300)) - np.log1p(-scores)
    _check(
        labels, scores, weighted=alpha < 1.0, from_logits=from_logits, rng=rng
    )


@pytest.mark.parametrize("name", ["normal", "narrow band"])
def test_probabilities_of_logits(name):
    rng = _generator(name)
    labels, scores = score_streams.logits(name, SIZE, rng)
    scores = 1.0 / (1.0 + np.exp(-scores))
    _check(labels, scores, weighted=False, from_logits=False, rng=rng)
