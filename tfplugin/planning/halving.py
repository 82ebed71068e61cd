"""Successive halving: many recipes for a few epochs, few for all of them.

Pure functions over two callables, one that trains and one that judges. After
Jamieson and Talwalkar, "Non-stochastic best arm identification and
hyperparameter optimization", arXiv 1502.07943, with two changes for epochs that
may overfit: nothing is judged before its second epoch, since many recipes
share the first, and half of the places are for the best of each family, since
what falls late and what falls at once look alike early.
"""

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

#: Epochs of the first rung: the least after which a fall shows.
FIRST_RUNG = 2
#: Of so many recipes one goes on to the next rung.
_ONE_IN = 2
#: Recipes that go on at least, if there are so many.
_LEAST_KEPT = 4


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds that trainings take.

    Args:
        start: Before the first epoch of a recipe: building and tracing.
        epoch: Of one epoch.
        resumes: Whether a recipe goes on from where the last rung left it;
            else it is trained again from its start.

    Example:
    >>> Costs(start=1.0, epoch=10.0).training(done=2, epochs=4)
    20.0
    """

    start: float
    epoch: float
    resumes: bool = True

    def training(self, done: int, epochs: int) -> float:
        """Seconds to bring a recipe from some epochs to more.

        Args:
            done: Epochs that it has behind it.
            epochs: Epochs that it is to have.
        """
        if done and self.resumes:
            return (epochs - done) * self.epoch
        return self.start + epochs * self.epoch


def rungs(max_epochs: int) -> tuple[int, ...]:
    """Epochs after which recipes are compared; the last are all.

    Args:
        max_epochs: At least 1.

    Example:
    >>> rungs(1), rungs(4), rungs(12)
    ((1,), (2, 4), (2, 4, 8, 12))
    """
    found = []
    epochs = FIRST_RUNG
    while epochs < max_epochs:
        found.append(epochs)
        epochs *= 2
    return (*found, max_epochs)


def schedule(count: int, steps: Sequence[int]) -> tuple[int, ...]:
    """How many of `count` recipes are trained up to each rung.

    Args:
        count: Recipes of the first rung.
        steps: What `rungs` returned.

    Example:
    >>> schedule(18, (2, 4, 8)), schedule(3, (2, 4))
    ((18, 9, 5), (3, 3))
    """
    counts = [count]
    for _ in steps[1:]:
        fewer = max(math.ceil(counts[-1] / _ONE_IN), _LEAST_KEPT)
        counts.append(min(counts[-1], fewer))
    return tuple(counts)


def seconds(count: int, steps: Sequence[int], costs: Costs) -> float:
    """What the halving of `count` recipes takes.

    Args:
        count: Recipes of the first rung.
        steps: What `rungs` returned.
        costs: Of one of them.

    Example:
    >>> seconds(3, (2, 4), Costs(start=1.0, epoch=10.0))
    123.0
    """
    return count * costs.training(0, steps[0]) + later(count, steps, costs)


def later(count: int, steps: Sequence[int], costs: Costs) -> float:
    """What the rungs after the first take.

    Args:
        count: Recipes of the first rung.
        steps: What `rungs` returned.
        costs: Of one of them.

    Example:
    >>> later(3, (2, 4), Costs(start=1.0, epoch=10.0))
    60.0
    """
    counts = schedule(count, steps)
    return sum(
        counts[k] * costs.training(steps[k - 1], steps[k])
        for k in range(1, len(steps))
    )


def admits(count: int, steps: Sequence[int], costs: Costs, left: float) -> bool:
    """Whether one recipe more may begin, and all rungs still be climbed.

    Asked before each recipe of the first rung, it follows a speed that
    changes meanwhile.

    Args:
        count: Recipes that the first rung has already.
        steps: What `rungs` returned.
        costs: Of one recipe, as known by now.
        left: Seconds until the halving must be over.

    Example:
    >>> costs = Costs(start=1.0, epoch=10.0)
    >>> admits(2, (2, 4), costs, left=81.0), admits(2, (2, 4), costs, left=80.0)
    (True, False)
    """
    needed = costs.training(0, steps[0]) + later(count + 1, steps, costs)
    return needed <= left


def widest(most: int, steps: Sequence[int], costs: Costs, limit: float) -> int:
    """Most recipes whose halving stays inside a limit; 0 if none does.

    Args:
        most: How many there are.
        steps: What `rungs` returned.
        costs: Of one of them.
        limit: Seconds.

    Example:
    >>> widest(20, (2, 4), Costs(start=0.0, epoch=1.0), limit=30.0)
    10
    """
    count = most
    while count and seconds(count, steps, costs) > limit:
        count -= 1
    return count


def halve(
    names: Sequence[str],
    steps: Sequence[int],
    train: Callable[[str, int], bool],
    score: Callable[[str, int], float],
    families: Mapping[str, str],
    complexities: Mapping[str, int],
    drop: Callable[[str], None] = lambda name: None,
) -> list[list[str]]:
    """Trains recipes rung by rung, the better ones further.

    Args:
        names: Recipes, in the order in which they are trained first.
        steps: What `rungs` returned.
        train: Given a name and a number of epochs, trains up to them; False
            if there was no time to.
        score: Given the same, how good the recipe is then; higher is better.
        families: Name to family.
        complexities: Name to complexity: of equal ones the simpler goes on.
        drop: Told of each that does not go on.

    Returns:
        For each rung the names that were trained up to it.

    Example:
    >>> truth = {"a": 0.5, "b": 0.7, "c": 0.6, "d": 0.1, "e": 0.2}
    >>> halve(
    ...     list(truth),
    ...     (2, 4),
    ...     train=lambda name, epochs: True,
    ...     score=lambda name, epochs: truth[name],
    ...     families=dict.fromkeys(truth, "plain"),
    ...     complexities=dict.fromkeys(truth, 0),
    ... )
    [['a', 'b', 'c', 'd', 'e'], ['b', 'c', 'a', 'e']]
    """
    entering = list(names)
    reached: list[list[str]] = []
    for rung, epochs in enumerate(steps):
        arrived = [name for name in entering if train(name, epochs)]
        reached.append(arrived)
        if rung + 1 < len(steps):
            simpler = sorted(arrived, key=complexities.__getitem__)
            scores = {name: score(name, epochs) for name in simpler}
            # Of those that came, not of those that were to: some were refused.
            counts = schedule(len(reached[0]), steps)
            entering = keep(scores, families, counts[rung + 1])
            for name in arrived:
                if name not in entering:
                    drop(name)
    return reached


def keep(
    scores: Mapping[str, float], families: Mapping[str, str], count: int
) -> list[str]:
    """Who goes on: half the places by score, then the best of each family.

    Args:
        scores: Name to score; of equal ones the first is better, and NaN is
            worst.
        families: Name to family.
        count: Places.

    Returns:
        At most `count` names, the best first.

    Example:
    >>> keep({"a": 3.0, "b": 2.0, "c": 1.0}, {"a": "x", "b": "x", "c": "y"}, 2)
    ['a', 'c']
    """

    def place(name: str) -> float:
        return -scores[name] if scores[name] == scores[name] else math.inf

    order = sorted(scores, key=place)  # stable, so ties keep their order
    chosen = order[: math.ceil(count / 2)]
    present = {families[name] for name in chosen}
    for name in order:
        if len(chosen) < count and families[name] not in present:
            chosen.append(name)
            present.add(families[name])
    rest = [name for name in order if name not in chosen]
    chosen += rest[: max(count - len(chosen), 0)]
    return sorted(chosen, key=order.index)
