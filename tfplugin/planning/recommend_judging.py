"""Which recipe is best, by what validation can tell."""

import dataclasses
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: By how much an objective may end below the best plain recipe.
ALLOWED_LOSS = 0.0005
#: Differences below this are never taken for real: another seed moves more.
LEAST_NOISE = 0.0002
#: Examples of the rarer class at which an objective's AUC counts half.
_HALF_EVIDENCE = 200.0

Areas = Mapping[str, float]


def influences(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    weights: npt.ArrayLike,
    groups: np.ndarray,
) -> np.ndarray:
    """How the AUC moves with the weight of each group of rows.

    The infinitesimal jackknife: what d AUC / d log weight is for a group. The
    root of the sum of squares is the standard error of the AUC over groups,
    and that of a difference of two arrays the error of a paired difference.
    With a group a row it is DeLong's (Biometrics 44, 1988), with larger groups
    Obuchowski's (Biometrics 53, 1997).

    Args:
        labels: 0 or 1, `(n,)`.
        scores: `(n,)`.
        weights: Not negative, `(n,)`.
        groups: Whole numbers from 0, `(n,)`.

    Returns:
        float64 `(groups.max() + 1,)`; NaN where a class has no weight.

    Example:
    >>> moved = influences([0, 1, 0, 1], [1, 2, 3, 4], np.ones(4), np.arange(4))
    >>> moved.tolist()
    [0.125, -0.125, -0.125, 0.125]
    """
    labels, scores, weights = map(np.asarray, (labels, scores, weights))
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = weights * labels, weights * (1.0 - labels)
    by_place = np.bincount(place, positive), np.bincount(place, negative)
    positives, negatives = (float(each.sum()) for each in by_place)
    count = int(groups.max()) + 1
    if not positives or not negatives:
        return np.full(count, np.nan)
    below = (np.cumsum(by_place[1]) - 0.5 * by_place[1]) / negatives
    not_above = np.cumsum(by_place[0]) - 0.5 * by_place[0]
    above = 1.0 - not_above / positives
    area = float((by_place[0] * below).sum() / positives)
    moved = positive * (below[place] - area) / positives
    moved += negative * (above[place] - area) / negatives
    return np.bincount(groups, moved, minlength=count)


def evidence(labels: np.ndarray, weights: np.ndarray) -> float:
    """How much the AUC of an objective is worth, between 0 and 1.

    n / (n + 200), n the rows of the rarer class: with 6 checkouts the AUC is
    noise, and would be half of a mean over two objectives.

    Args:
        labels: 0 or 1, `(n,)`.
        weights: `(n,)`; 0 leaves a row out.

    Example:
    >>> evidence(np.repeat([0, 1], [5000, 600]), np.ones(5600))
    0.75
    """
    observed = np.asarray(weights) > 0
    positives = int((np.asarray(labels)[observed] > 0.5).sum())
    rarer = min(positives, int(observed.sum()) - positives)
    return rarer / (rarer + _HALF_EVIDENCE)


@dataclasses.dataclass(frozen=True)
class Judge:
    """Turns the AUC of each objective into one number.

    Args:
        weights: Objective to the weight of its AUC, from `evidence`; 0 where
            no AUC can be measured.

    Example:
    >>> judge = Judge({"click": 1.0, "buy": 0.5})
    >>> best = {"click": 0.7, "buy": 0.8}
    >>> round(judge.score({"click": 0.72, "buy": 0.8}, best), 6)
    0.746667
    >>> round(judge.score({"click": 0.72, "buy": 0.7}, best), 6)
    0.663583
    """

    weights: Areas

    def mean(self, areas: Areas) -> float:
        """Weighted mean over the objectives that have a weight.

        NaN if one of these is, as after a training that diverged.
        """
        known = [o for o in areas if self.weights[o]]
        total = sum(self.weights[o] for o in known)
        if not total:
            return math.nan
        return sum(self.weights[o] * areas[o] for o in known) / total

    def score(self, areas: Areas, best_plain: Areas) -> float:
        """The mean, less what the worst objective loses beyond .0005.

        Args:
            areas: Objective to AUC.
            best_plain: Objective to the best AUC of any plain recipe after
                any epoch.

        Returns:
            NaN where `mean` is.
        """
        losses = (
            self.weights[o] * (best_plain[o] - areas[o] - ALLOWED_LOSS)
            for o in areas
            if o in best_plain
        )
        worst = max((loss for loss in losses if loss > 0.0), default=0.0)
        return self.mean(areas) - worst

    def error(
        self, one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]
    ) -> float:
        """Standard error of the difference of two means over objectives.

        Args:
            one: Objective to influences, of one recipe.
            other: Of another one, on the same rows.
        """
        total, moved = 0.0, np.zeros(())
        for objective, weight in self.weights.items():
            difference = one[objective] - other[objective]
            if not np.isnan(difference).any():
                total += weight
                moved = moved + weight * difference
        return float(np.sqrt((moved**2).sum()) / total) if total else 0.0


def best_of(every: Iterable[Areas]) -> dict[str, float]:
    """Objective to the highest AUC there is; NaN is none.

    Example:
    >>> best_of([{"a": 0.6, "b": 0.7}, {"a": 0.5, "b": 0.8}])
    {'a': 0.6, 'b': 0.8}
    """
    best: dict[str, float] = {}
    for areas in every:
        for objective, area in areas.items():
            if area > best.get(objective, -math.inf):
                best[objective] = area
    return best


def simplest(
    scores: Sequence[float],
    complexities: Sequence[int],
    noises: Sequence[float],
) -> int:
    """The simplest of those that are as good as the best.

    Args:
        scores: Of each; one at least is a number, and NaN is never taken.
        complexities: Of each; of equal ones the better is taken.
        noises: Of each, by how much it may be below the best.

    Returns:
        Its place.

    Example:
    >>> simplest([0.7, 0.7004, 0.69], [0, 2, 0], [0.0005, 0.0, 0.0005])
    0
    """
    top = max(score for score in scores if not math.isnan(score))
    as_good = [k for k, s in enumerate(scores) if s >= top - noises[k]]
    return min(as_good, key=lambda k: (complexities[k], -scores[k]))
