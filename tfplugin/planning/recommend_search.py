"""From statistics and a bounded pilot to a recipe for many epochs."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.errors import InputError
from tfplugin.planning import halving
from tfplugin.planning import recipes as recipes_lib
from tfplugin.planning import recommend_facts
from tfplugin.planning import recommend_judging as judging
from tfplugin.planning import recommend_reasons
from tfplugin.planning import recommend_records as records
from tfplugin.planning import recommend_runs

if TYPE_CHECKING:
    Report = Callable[[str, int], None]

#: Above so many rows, speed is measured on fewer before a sample is chosen.
_PROBE_ABOVE = 300_000
_PROBE_ROWS = 100_000
#: Rows of a sample at least, where there are as many.
_LEAST_ROWS = 1000
#: Recipes that all rows must be few enough for; else rows are sampled.
_ENOUGH = 8
#: Share of the time for halving; the rest is for what lies around the best
#: recipe, and for a second seed.
_HALVING_SHARE = 0.6
#: Of an estimate of time, so much is planned with.
_MARGIN = 0.9
_MOST_REFINED = 10
#: A neighbour this far behind the best at the first rung is given up.
_FAR_BEHIND = 0.004


def recommend(
    config: config_lib.ExperimentConfig,
    work: artifacts.WorkFolder,
    report: Report = lambda recipe, epoch: None,
) -> records.Recommendation:
    """Tries recipes on validation, and proposes the simplest good one.

    1. Statistics say which recipes to try first; see `recipes.catalogue`.
    2. Speed is measured, and follows how many recipes are tried on how many
       rows; all rows if time allows, else whole groups of them.
    3. Successive halving over epochs; see `halving`. Only what reaches
       `recommend.min_epochs`, and never diverges, can be proposed.
    4. What lies around the best is tried while time is left, and the best and
       the simplest contender get a second seed.
    5. The score is the mean over objectives of validation AUC, less what the
       worst objective loses against the best plain recipe stopped at its
       best epoch; see `recommend_judging`. The simplest recipe within the
       noise of the best is proposed.

    The test split is not read.

    Args:
        config: The experiment; its section `recommend` holds the limits.
        work: Its folder, with a finished dataset.
        report: Told a recipe's name and an epoch of it that has ended.

    Raises:
        InputError: The dataset does not fit the configuration, an objective
            has one class among the training rows, a remedy is set by hand
            beside `multi_epoch: auto`, the model has no table, time is too
            short for two recipes, or all recipes diverge.
    """
    # Loads TensorFlow, which reading a recommendation has no use for.
    from tfplugin import data
    from tfplugin.training import chunks
    from tfplugin.training import optimization

    refuse_contradictions(config)
    begun = time.monotonic()
    dataset = data.open_dataset(work.dataset.path)
    for objective in dataset.schema.labels:
        optimization.base_rate(dataset, objective)
    facts = recommend_facts.gather(dataset, config.training.batch_size)
    # Counts and labels stay those of all logs, as in training.
    narrowed = chunks.narrow(config.training, dataset)
    facts = dataclasses.replace(
        facts,
        rows=narrowed.rows("train"),
        steps_per_epoch=chunks.mean_steps(config.training, narrowed),
    )
    search = _Search(config, work, facts, report, begun)
    search.prepare()
    search.halve()
    search.refine()
    search.repeat()
    return search.conclude()


def refuse_contradictions(config: config_lib.ExperimentConfig) -> None:
    """Refuses remedies that are set beside `multi_epoch: auto`.

    Raises:
        InputError: There are some.
    """
    chosen = config.training.remedies
    if config.training.multi_epoch == "auto" and chosen:
        raise InputError(
            "training.multi_epoch: auto chooses the remedies. Received: "
            f"training.remedies with {', '.join(chosen)}. Leave these out, or "
            "set training.multi_epoch: manual."
        )


class _Search:
    """The pilot, step by step; see `recommend`."""

    def __init__(
        self,
        config: config_lib.ExperimentConfig,
        work: artifacts.WorkFolder,
        facts: recommend_facts.Facts,
        report: Report,
        begun: float,
    ) -> None:
        self._config = config
        self._work = work
        self._facts = facts
        self._report = report
        self._begun = begun
        settings = config.recommend
        self._settings = settings
        self._fixed = None not in (settings.rows, settings.recipes)
        self._deadline = (
            math.inf if self._fixed else begun + settings.time_limit
        )
        self._refused: dict[str, str] = {}
        catalogue = recipes_lib.catalogue(config, facts)
        self._recipes = {
            recipe.name: recipe for recipe in catalogue if self._fits(recipe)
        }
        self._plain = catalogue[0].name
        self._steps = halving.rungs(settings.max_epochs)
        self._not_tried: tuple[str, ...] = ()
        self._rounds = 0

    def _fits(self, recipe: recipes_lib.Recipe) -> bool:
        """Whether a recipe goes with what else the configuration says."""
        try:
            config_lib.with_changes(self._config, recipe.changes(self._config))
        except InputError as error:
            if recipe.plain:
                raise
            self._refused[recipe.name] = str(error)
            return False
        return True

    def prepare(self) -> None:
        """Chooses the rows, and trains the plain recipe's first epochs."""
        settings = self._settings
        total = self._facts.rows
        most = min(settings.rows or settings.max_rows, total)
        probe = settings.rows is None and most > _PROBE_ABOVE
        began = time.monotonic()
        self._runs = self._load(_PROBE_ROWS if probe else most)
        loading = time.monotonic() - began
        rows = most
        if settings.rows is None:
            rows = self._affordable(most, loading)
        if rows != (_PROBE_ROWS if probe else most):
            self._runs = self._load(rows)
            self._measure()

    def _affordable(self, most: int, loading: float) -> int:
        """Rows on which enough recipes can be tried."""
        self._measure()
        held = self._runs.trials.rows["train"]
        costs = self._runs.costs(_ENOUGH)
        starts = dataclasses.replace(costs, epoch=0.0)
        # Another sample has to be read anew, and is not if all rows are held.
        again = loading if held < most else 0.0
        left = (self._for_halving() - again) * _MARGIN
        # Half of the time at least is to be trained in.
        count = halving.widest(_ENOUGH, self._steps, starts, left / 2)
        left -= halving.seconds(count, self._steps, starts)
        epochs = dataclasses.replace(costs, start=0.0)
        rows = most
        if count:
            a_row = halving.seconds(count, self._steps, epochs) / held
            rows = min(most, int(left / a_row))
        if count < 2 or rows < min(_LEAST_ROWS, most):
            raise InputError(
                "recommend.time_limit must be long enough to compare two "
                f"recipes on {_LEAST_ROWS} rows. Received: "
                f"{self._settings.time_limit} seconds, where one epoch of "
                f"{held:,} rows takes {costs.epoch:.1f} and the start of a "
                f"recipe {costs.start:.1f}. Raise it."
            )
        return rows

    def _for_halving(self) -> float:
        return _HALVING_SHARE * (self._deadline - time.monotonic())

    def _load(self, rows: int) -> recommend_runs.Runs:
        from tfplugin.training import trials as trials_lib

        settings = self._settings
        trials = trials_lib.Trials(
            self._config,
            self._work,
            splits=(recommend_runs.SPLIT,),
            max_rows=rows if rows < self._facts.rows else None,
            sample_seed=settings.seed,
        )
        return recommend_runs.Runs(
            trials,
            recommend_runs.groups(trials, self._config),
            self._recipes,
            epochs=(settings.min_epochs, settings.max_epochs),
            seed=settings.seed,
            deadline=self._deadline,
            report=self._report,
        )

    def _measure(self) -> None:
        self._runs.train(self._plain, self._steps[0])

    def halve(self) -> None:
        """The first comparison, of as many recipes as there is time for."""
        names = list(self._recipes)[: self._settings.recipes]
        over = time.monotonic() + self._for_halving()
        begun: list[str] = []
        refused: list[str] = []

        def train(name: str, epochs: int) -> bool:
            if epochs == self._steps[0]:
                left = (over - time.monotonic()) * _MARGIN
                costs = self._runs.costs(len(begun) + 1)
                enough = self._settings.recipes or len(begun) < 2
                if refused or not (
                    enough
                    or halving.admits(len(begun), self._steps, costs, left)
                ):
                    refused.append(name)
                    return False
                begun.append(name)
            return self._runs.train(name, epochs)

        halving.halve(
            names,
            self._steps,
            train,
            self._runs.score,
            {name: recipe.family for name, recipe in self._recipes.items()},
            {name: one.complexity for name, one in self._recipes.items()},
            self._runs.drop,
        )
        self._rounds = len(begun) // 4
        self._not_tried = tuple(n for n in self._recipes if n not in begun)

    def refine(self) -> None:
        """What lies around the best, as long as time for it is left."""
        rounds = self._rounds if self._fixed else _MOST_REFINED
        for _ in range(rounds):
            best = self._best()
            costs = self._runs.costs(1)
            whole = costs.training(0, self._settings.max_epochs)
            if best is None:
                return
            # What a second seed of two recipes takes is kept.
            kept = 0 if self._choose()[0] == best else 2
            if self._runs.left < (1 + kept) * whole / _MARGIN:
                return
            nearby = recipes_lib.neighbours(self._runs.recipes[best])
            new = [
                recipe
                for recipe in nearby
                if recipe.name not in self._tried() and self._fits(recipe)
            ]
            if not new:
                return
            self._runs.recipes[new[0].name] = new[0]
            self._follow(new[0].name, best)

    def _follow(self, name: str, best: str) -> None:
        """Trains a recipe as long as it keeps up with the best."""
        for epochs in self._steps:
            if not self._runs.train(name, epochs):
                break
            behind = self._runs.score(best, epochs)
            behind -= self._runs.score(name, epochs)
            if behind > _FAR_BEHIND:
                break
        self._runs.drop(name)

    def repeat(self) -> None:
        """A second seed for the best, and for what may stand in for it."""
        best = self._best()
        if best is None:
            return
        chosen, _ = self._choose()
        if chosen == best:
            return
        for name in (best, chosen):
            self._runs.train(
                name, self._settings.max_epochs, self._settings.seed + 1
            )
            self._runs.drop(name)

    def _tried(self) -> set[str]:
        return {name for name, _ in self._runs.runs}

    def _best(self) -> str | None:
        finished = self._runs.finished()
        return max(finished, key=self._final, default=None)

    def _final(self, name: str) -> float:
        return self._runs.score(name, self._runs.best_epoch(name))

    def _choose(self) -> tuple[str, float]:
        """The simplest recipe within the noise of the best, and that noise."""
        best = self._best()
        finished = self._runs.finished()
        noises = [self._runs.noise(str(best), name) for name in finished]
        place = judging.simplest(
            [self._final(name) for name in finished],
            [self._runs.recipes[name].complexity for name in finished],
            noises,
        )
        return finished[place], noises[place]

    def conclude(self) -> records.Recommendation:
        """The proposal and the reasons for it.

        Raises:
            InputError: No recipe has had the least epochs, or all diverged.
        """
        runs = self._runs
        best = self._best()
        if best is None:
            raise recommend_reasons.none(runs, self._config)
        chosen, noise = self._choose()
        epochs = runs.best_epoch(chosen)
        recipe = runs.recipes[chosen]
        pilot = self._pilot()
        return records.Recommendation(
            name=self._config.name,
            dataset_fingerprint=self._work.dataset.fingerprint(),
            recipe=chosen,
            sentence=recipe.sentence,
            epochs=epochs,
            changes={
                "training.epochs": epochs,
                **recipe.changes(self._config),
            },
            because=recommend_reasons.because(
                runs, self._facts, pilot, chosen, best
            ),
            weights=dict(runs.judge.weights),
            noise=noise,
            facts=self._facts,
            tried=recommend_reasons.table(runs),
            pilot=pilot,
        )

    def _pilot(self) -> records.Pilot:
        """What the pilot had and spent."""
        costs = self._runs.costs(1)
        return records.Pilot(
            rows=dict(self._runs.trials.rows),
            sampled_by=self._runs.trials.sampled_by,
            seconds=time.monotonic() - self._begun,
            time_limit=None if self._fixed else self._settings.time_limit,
            seconds_per_epoch=costs.epoch,
            seconds_to_start=costs.start,
            not_tried=self._not_tried,
            refused={**self._refused, **self._runs.refused},
            stopped=self._runs.stopped,
            diverged=tuple(self._runs.diverged()),
        )
