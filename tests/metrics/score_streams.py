"""Streams of labels and scores like those of models, for metric tests."""

import numpy as np


def _sigmoid(logits):
    return 1.0 / (1.0 + np.exp(-logits))


def _draw(rng, probabilities):
    return rng.random(len(probabilities)) < probabilities


def logits(name, size, rng):
    """Labels and logits of a named stream, at a positive rate of 0.1 %."""
    labels = rng.random(size) < 0.001
    noise = rng.normal(size=size)
    if name == "normal":
        return labels, -7.0 + noise + 1.5 * labels
    if name == "normal, well told apart":
        return labels, -7.0 + noise + 3.5 * labels
    if name == "calibrated":
        scores = -7.5 + 1.2 * noise
        return _draw(rng, _sigmoid(scores)), scores
    if name == "narrow band":
        return labels, -6.9 + 0.01 * (noise + labels)
    if name == "even narrow band":
        band = rng.uniform(-0.01, 0.01, size)
        return labels, -6.9 + band + 0.004 * labels
    if name == "start of training":
        return labels, 1e-4 * (noise + 2.0 * labels)
    if name == "narrow band with outliers":
        far = rng.random(size) < 0.001
        return labels, np.where(far, 30.0 * noise, -6.9 + 0.01 * noise)
    if name == "two narrow bands":
        upper = rng.random(size) < 0.1
        labels = _draw(rng, np.where(upper, 0.005, 0.0005))
        return labels, np.where(upper, -3.0, -6.9) + 0.01 * noise
    if name == "few values":
        return labels, np.round((-7.0 + noise + labels) * 2.0) / 2.0
    if name == "nine in ten tied":
        tied = rng.random(size) < 0.9
        return labels, np.where(tied, -7.0, -6.5 + noise + labels)
    if name == "separated":
        return labels, np.where(labels, 8.0, -8.0) + noise
    if name == "separated, sorted, no gap":
        scores = np.sort(-7.0 + noise)
        return np.arange(size) >= size - size // 1000, scores
    if name == "sorted":
        scores = np.sort(-7.5 + 1.2 * noise)
        return _draw(rng, _sigmoid(scores)), scores
    raise ValueError(f"Unknown stream. Received: name={name!r}.")


LOGITS = [
    "normal",
    "normal, well told apart",
    "calibrated",
    "narrow band",
    "even narrow band",
    "start of training",
    "narrow band with outliers",
    "two narrow bands",
    "few values",
    "nine in ten tied",
    "separated",
    "separated, sorted, no gap",
    "sorted",
]
BETAS = [(0.1, 100.0), (0.5, 500.0), (1.0, 999.0), (2.0, 2000.0)]


def beta_probabilities(alpha, beta, size, rng):
    """Labels drawn from beta distributed probabilities, and these."""
    probabilities = rng.beta(alpha, beta, size)
    return _draw(rng, probabilities), probabilities
