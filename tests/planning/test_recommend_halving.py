import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfplugin.planning import halving

_COSTS = st.builds(
    halving.Costs,
    start=st.floats(0.0, 20.0),
    epoch=st.floats(0.01, 60.0),
    resumes=st.booleans(),
)
_EPOCHS = st.integers(1, 20)


class _Pilot:
    """Recipes whose worth is known, and a clock that training moves."""

    def __init__(self, worth, costs):
        self.worth = worth
        self.costs = costs
        self.clock = 0.0
        self.done = dict.fromkeys(worth, 0)
        self.dropped = []

    def train(self, name, epochs):
        assert name not in self.dropped
        self.clock += self.costs.training(self.done[name], epochs)
        self.done[name] = epochs
        return True

    def score(self, name, epochs):
        assert self.done[name] >= epochs
        return self.worth[name]

    def run(self, names, steps, families=None, complexities=None):
        return halving.halve(
            names,
            steps,
            self.train,
            self.score,
            families or dict.fromkeys(self.worth, "one"),
            complexities or dict.fromkeys(self.worth, 0),
            self.dropped.append,
        )


@given(_EPOCHS)
def test_rungs_rise_to_all_epochs_and_judge_none_by_the_first(epochs):
    steps = halving.rungs(epochs)
    assert steps[-1] == epochs
    assert list(steps) == sorted(set(steps))
    assert steps[0] >= min(2, epochs)


@given(st.integers(0, 40), _EPOCHS, _COSTS, st.floats(0.0, 5000.0))
def test_the_widest_halving_stays_in_its_budget(most, epochs, costs, limit):
    steps = halving.rungs(epochs)
    count = halving.widest(most, steps, costs, limit)
    worth = {f"r{k}": float(k) for k in range(count)}
    pilot = _Pilot(worth, costs)
    if count:
        pilot.run(list(worth), steps)
    assert pilot.clock <= limit * (1 + 1e-9)
    assert math.isclose(
        pilot.clock, halving.seconds(count, steps, costs), abs_tol=1e-6
    )
    if count < most:
        assert halving.seconds(count + 1, steps, costs) > limit


@given(st.integers(1, 30), _EPOCHS, _COSTS, st.floats(0.0, 5000.0))
def test_what_is_admitted_one_by_one_stays_in_its_budget(
    most, epochs, costs, limit
):
    steps = halving.rungs(epochs)
    worth = {f"r{k}": float(-k) for k in range(most)}
    pilot = _Pilot(worth, costs)
    begun = []

    def train(name, epochs):
        if epochs == steps[0]:
            left = limit - pilot.clock
            if not halving.admits(len(begun), steps, costs, left):
                return False
            begun.append(name)
        return pilot.train(name, epochs)

    halving.halve(
        list(worth),
        steps,
        train,
        pilot.score,
        dict.fromkeys(worth, "one"),
        dict.fromkeys(worth, 0),
    )
    assert pilot.clock <= limit * (1 + 1e-9)
    # And nothing is given away: a halving of so many fits beforehand, too.
    assert len(begun) == halving.widest(most, steps, costs, limit)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30, unique=True),
    st.data(),
    _EPOCHS,
)
def test_the_best_survives_without_noise(worths, data, epochs):
    worth = {f"r{k}": w for k, w in enumerate(worths)}
    families = {
        name: data.draw(st.sampled_from("abc"), label=name) for name in worth
    }
    steps = halving.rungs(epochs)
    pilot = _Pilot(worth, halving.Costs(1.0, 1.0))
    reached = pilot.run(list(worth), steps, families)
    best = max(worth, key=worth.get)
    assert best in reached[-1]
    assert tuple(map(len, reached)) == halving.schedule(len(worth), steps)
    for earlier, further in zip(reached, reached[1:], strict=False):
        assert set(further) <= set(earlier)
    assert set(pilot.dropped).isdisjoint(reached[-1])


def test_of_equal_recipes_the_simpler_goes_on():
    worth = {f"r{k}": 0.5 for k in range(15)}
    complexities = {name: 15 - k for k, name in enumerate(worth)}
    pilot = _Pilot(worth, halving.Costs(0.0, 1.0))
    reached = pilot.run(list(worth), (2, 4), None, complexities)
    assert reached[1] == [f"r{k}" for k in range(14, 6, -1)]


def test_the_best_of_another_family_goes_on_before_the_better_third():
    scores = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1}
    families = {"a": "x", "b": "x", "c": "x", "d": "y"}
    assert halving.keep(scores, families, 4) == ["a", "b", "c", "d"]
    assert halving.keep(scores, families, 3) == ["a", "b", "d"]
    assert halving.keep(scores, families, 1) == ["a"]


def test_a_recipe_that_cannot_be_measured_goes_last():
    scores = {"a": math.nan, "b": 0.2, "c": 0.1}
    families = dict.fromkeys(scores, "x")
    assert halving.keep(scores, families, 2) == ["b", "c"]
    assert halving.keep(scores, families, 3) == ["b", "c", "a"]


def test_who_found_no_time_is_left_out():
    steps = (2, 4)
    scores = {f"r{k}": float(k) for k in range(6)}
    reached = halving.halve(
        list(scores),
        steps,
        lambda name, epochs: epochs == 2 and name != "r5",
        lambda name, epochs: scores[name],
        dict.fromkeys(scores, "x"),
        dict.fromkeys(scores, 0),
    )
    assert reached == [["r0", "r1", "r2", "r3", "r4"], []]


def test_noise_costs_little():
    rng = np.random.default_rng(0)
    worth = {f"r{k}": w for k, w in enumerate(rng.normal(0.7, 0.01, 20))}
    found = []
    for _ in range(200):
        noisy = {n: w + rng.normal(0.0, 0.001) for n, w in worth.items()}
        reached = _Pilot(noisy, halving.Costs(0.0, 1.0)).run(
            list(noisy), (2, 4)
        )
        found.append(worth[max(reached[-1], key=noisy.get)])
    assert max(worth.values()) - np.mean(found) < 0.001
