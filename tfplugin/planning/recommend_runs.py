"""Recipes in training: what was measured, what is still held in memory."""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfplugin.errors import InputError
from tfplugin.planning import halving
from tfplugin.planning import recommend_judging as judging
from tfplugin.planning.recipes import Recipe

if TYPE_CHECKING:
    from tfplugin import config as config_lib
    from tfplugin.training import trials as trials_lib

SPLIT = "validation"
#: Bytes of models and optimizers that wait for their next epochs, at most.
_WAITING_BYTES = 2 << 30


@dataclasses.dataclass
class Run:
    """One training of one recipe, as far as it has come.

    Args:
        recipe: What is trained.
        seed: Of its weights and of the order of rows.
        epochs: After each epoch, objective to validation AUC.
        moved: Epoch, from 1, to objective to influences of groups.
        seconds: What it took.
    """

    recipe: Recipe
    seed: int
    epochs: list[dict[str, float]] = dataclasses.field(default_factory=list)
    moved: dict[int, dict[str, np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    seconds: float = 0.0


class Runs:
    """Trains recipes on rows held in memory, inside of a time limit.

    Args:
        trials: The rows.
        groups: Whole numbers from 0, of the validation rows: what is drawn
            together.
        recipes: Name to recipe; more may be added.
        epochs: Least and most epochs of what is proposed.
        seed: Of the first training of each recipe.
        deadline: Moment, of `time.monotonic`, after which no epoch ends.
        report: Told of each epoch that has ended.

    Attributes:
        runs: By name and seed.
        judge: With the weights of the objectives.
        stopped: Whether a training was not done for want of time.
        refused: Name of a recipe that could not be trained, and why.

    Raises:
        InputError: No objective has both classes among the validation rows.
    """

    def __init__(
        self,
        trials: trials_lib.Trials,
        groups: np.ndarray,
        recipes: Mapping[str, Recipe],
        *,
        epochs: tuple[int, int],
        seed: int,
        deadline: float,
        report: Callable[[str, int], None],
    ) -> None:
        self.trials = trials
        self.recipes = dict(recipes)
        self.min_epochs, self.max_epochs = epochs
        self.seed = seed
        self.deadline = deadline
        self.runs: dict[tuple[str, int], Run] = {}
        self.stopped = False
        self.refused: dict[str, str] = {}
        self._groups = groups
        self._report = report
        self._waiting: dict[tuple[str, int], trials_lib.Trial] = {}
        self._bytes = 0
        self._starts: list[float] = []
        self._firsts: list[float] = []
        self._laters: list[float] = []
        self.judge = judging.Judge(
            {
                objective: judging.evidence(
                    trials.labels(SPLIT, objective),
                    trials.weights(SPLIT, objective),
                )
                for objective in trials.dataset.schema.labels
            }
        )
        if not any(self.judge.weights.values()):
            raise InputError(
                "An objective must be 0 in some validation rows and 1 in "
                f"others to compare recipes. Received: {trials.rows[SPLIT]:,} "
                "rows, in which none is. Raise recommend.max_rows, or split "
                "the log otherwise."
            )

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def costs(self, waiting: int) -> halving.Costs:
        """What trainings took so far, at the median.

        Args:
            waiting: How many recipes are to wait in memory.
        """
        return halving.Costs(
            start=float(np.median(self._starts or [0.0])),
            epoch=float(np.median(self._laters or self._firsts or [0.0])),
            resumes=waiting * self._bytes <= _WAITING_BYTES,
        )

    def train(self, name: str, epochs: int, seed: int | None = None) -> bool:
        """Trains a recipe up to a number of epochs.

        Returns:
            Whether it has them; False where time would not suffice, the
            recipe does not go with the configuration or model, or it has
            diverged: it is not trained any further then.

        Raises:
            ValueError: A plain recipe does not go with them, and none was
                trained before it: it is not the recipe that is refused.
        """
        seed = self.seed if seed is None else seed
        key = name, seed
        run = self.runs.setdefault(key, Run(self.recipes[name], seed))
        if name in self.refused or self._has_diverged(run):
            return False
        if len(run.epochs) >= epochs:
            return True
        waits = key in self._waiting
        costs = self.costs(1)
        ahead = epochs - len(run.epochs) if waits else epochs
        if self.left < ahead * costs.epoch + (0 if waits else costs.start):
            self.stopped = True
            return False
        begun = time.monotonic()
        try:
            trial = self._waiting.get(key) or self._start(run)
            while len(trial.epochs) < epochs and not self._has_diverged(run):
                self._train_epoch(trial, run)
        except ValueError as error:  # InputError, or a callback's in `fit`
            others = (one for one in self.runs.values() if one is not run)
            if run.recipe.plain and not any(one.epochs for one in others):
                raise
            self._refuse(name, str(error))
            return False
        run.seconds += time.monotonic() - begun
        if self._has_diverged(run):
            self.drop(name)
            return False
        self._wait(key, trial)
        return True

    def _refuse(self, name: str, reason: str) -> None:
        self.refused[name] = reason
        for run in self.of(name):
            run.epochs.clear()
            run.moved.clear()
        self.drop(name)

    def drop(self, name: str) -> None:
        """Frees what is held of a recipe but its measurements."""
        for key in [key for key in self._waiting if key[0] == name]:
            del self._waiting[key]
        # Models and traced functions refer to each other.
        gc.collect()

    def best_plain(self) -> dict[str, float]:
        """Objective to the best AUC of plain recipes, after any epoch."""
        return judging.best_of(
            areas
            for run in self.runs.values()
            if run.recipe.plain
            for areas in run.epochs
        )

    def score(self, name: str, epochs: int) -> float:
        """How good a recipe is after some epochs, over its seeds.

        NaN where one of these has diverged by then.
        """
        best = self.best_plain()
        return float(
            np.mean(
                [
                    self.judge.score(run.epochs[epochs - 1], best)
                    for run in self.of(name)
                    if len(run.epochs) >= epochs
                ]
            )
        )

    def of(self, name: str) -> list[Run]:
        """The trainings of a recipe, by seed."""
        return [run for key, run in self.runs.items() if key[0] == name]

    def finished(self) -> list[str]:
        """Names of the recipes that may be proposed.

        They have the least epochs of a proposal and have not diverged.
        """
        return [
            name
            for name in self.recipes
            if any(len(r.epochs) >= self.min_epochs for r in self.of(name))
            and not any(map(self._has_diverged, self.of(name)))
        ]

    def diverged(self) -> list[str]:
        """Names of the recipes whose AUC was NaN after an epoch, of a seed."""
        return [
            name
            for name in self.recipes
            if any(map(self._has_diverged, self.of(name)))
        ]

    def _has_diverged(self, run: Run) -> bool:
        return any(math.isnan(self.judge.mean(areas)) for areas in run.epochs)

    def best_epoch(self, name: str) -> int:
        """The epoch in which a finished recipe scores best."""
        most = max(len(run.epochs) for run in self.of(name))
        epochs = range(self.min_epochs, most + 1)
        return max(epochs, key=lambda epoch: self.score(name, epoch))

    def noise(self, one: str, other: str) -> float:
        """Difference of two finished recipes that may be chance alone."""
        epochs = self.best_epoch(one), self.best_epoch(other)
        errors, differences = [], []
        for first in self.of(one):
            for second in self.of(other):
                if (
                    first.seed != second.seed
                    or epochs[0] not in first.moved
                    or epochs[1] not in second.moved
                ):
                    continue
                errors.append(
                    self.judge.error(
                        first.moved[epochs[0]], second.moved[epochs[1]]
                    )
                )
                differences.append(
                    self.judge.mean(first.epochs[epochs[0] - 1])
                    - self.judge.mean(second.epochs[epochs[1] - 1])
                )
        count = max(len(differences), 1)
        seeds = float(np.std(differences, ddof=1)) if count > 1 else 0.0
        rows = float(np.mean(errors)) if errors else 0.0
        return max(judging.LEAST_NOISE, float(np.hypot(rows, seeds / count)))

    def _start(self, run: Run) -> trials_lib.Trial:
        run.epochs.clear()
        run.moved.clear()
        begun = time.monotonic()
        trial = self.trials.start(
            run.recipe.changes(self.trials.config), seed=run.seed
        )
        if not trial.has_tables:
            raise InputError(
                "Recipes say how tables are trained, so that a model must "
                "have a table that is trained. Received: "
                f"model.build={self.trials.config.model.build}, which has "
                "none. Set training.multi_epoch=manual and choose "
                "training.epochs by validation."
            )
        self._starts.append(time.monotonic() - begun)
        if not self._bytes:
            model = trial.model
            variables = [*model.variables, *model.optimizer.variables]
            self._bytes = sum(
                int(np.prod(v.shape)) * np.dtype("float32").itemsize
                for v in variables
            )
        return trial

    def _train_epoch(self, trial: trials_lib.Trial, run: Run) -> None:
        begun = time.monotonic()
        measured = trial.train_epoch()
        epoch = len(trial.epochs)
        run.epochs.append(
            {name: v["auc"] for name, v in measured[SPLIT].items()}
        )
        if epoch >= self.min_epochs and not self._has_diverged(run):
            run.moved[epoch] = self._moved(trial)
        took = time.monotonic() - begun
        (self._firsts if epoch == 1 else self._laters).append(took)
        if epoch == halving.FIRST_RUNG:
            # The first one also traced.
            self._starts[-1] += max(self._firsts[-1] - took, 0.0)
        self._report(run.recipe.name, epoch)

    def _moved(self, trial: trials_lib.Trial) -> dict[str, np.ndarray]:
        return {
            objective: judging.influences(
                self.trials.labels(SPLIT, objective),
                logits,
                self.trials.weights(SPLIT, objective),
                self._groups,
            )
            for objective, logits in trial.predict(SPLIT).items()
        }

    def _wait(self, key: tuple[str, int], trial: trials_lib.Trial) -> None:
        done = len(trial.epochs) >= self.max_epochs
        full = (len(self._waiting) + 1) * self._bytes > _WAITING_BYTES
        self._waiting.pop(key, None)
        if not (done or full):
            self._waiting[key] = trial


def groups(
    trials: trials_lib.Trials, config: config_lib.ExperimentConfig
) -> np.ndarray:
    """Codes of the configured group, from 0, of the validation rows.

    Without a group that is a feature, each row is its own.

    Args:
        trials: With the validation rows.
        config: Names the group.
    """
    for name, feature in config.features.items():
        of_group = (feature.column or name) == config.group
        if feature.type == "id" and of_group:
            return np.unique(trials.ids(SPLIT, name), return_inverse=True)[1]
    return np.arange(trials.rows[SPLIT])
