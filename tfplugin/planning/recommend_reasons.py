"""Why a recipe is proposed, in sentences and as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tfplugin.errors import InputError
from tfplugin.planning import recommend_judging as judging
from tfplugin.planning import recommend_records as records
from tfplugin.planning.recommend_facts import FEW
from tfplugin.planning.recommend_facts import Facts

if TYPE_CHECKING:
    from tfplugin import config as config_lib
    from tfplugin.planning.recommend_runs import Run
    from tfplugin.planning.recommend_runs import Runs


def because(
    runs: Runs, facts: Facts, pilot: records.Pilot, chosen: str, best: str
) -> tuple[str, ...]:
    """Sentences from the statistics, the plain recipe and the choice.

    Args:
        runs: What was trained.
        facts: What the statistics say.
        pilot: What the pilot had.
        chosen: The proposed recipe.
        best: The one that scored best.
    """
    return (
        *_of_statistics(facts),
        *_of_plain(runs),
        *_of_choice(runs, chosen, best),
        *_of_losses(runs, chosen),
        *_of_limits(runs, facts, pilot),
    )


def _of_statistics(facts: Facts) -> list[str]:
    found = [
        f"{table.thin_share:.0%} of the occurrences of {table.name} are of "
        f"ids with fewer than {FEW} positives or negatives of "
        f"{facts.sparsest}, {table.rare_share:.0%} of ids seen fewer than "
        f"{FEW} times."
        for table in facts.tables
        if table.thin
    ]
    return found or [
        f"In no table are many occurrences of ids with fewer than {FEW} "
        f"positives or negatives of {facts.sparsest}."
    ]


def _of_plain(runs: Runs) -> list[str]:
    plain = [run for run in runs.runs.values() if run.recipe.plain]
    if not plain:
        return []
    # The one that was trained longest, the first of these.
    run = max(plain, key=lambda run: len(run.epochs))
    peak, means = _peak(runs, run)
    if means[-1] == -math.inf:
        return [f"Plain {run.recipe.name} diverges in epoch {len(means)}."]
    if peak + 1 < len(means):
        return [
            f"Plain {run.recipe.name} has its best validation AUC "
            f"({means[peak]:.4f}) after epoch {peak + 1} and falls to "
            f"{means[-1]:.4f} after epoch {len(means)}."
        ]
    return [
        f"Plain {run.recipe.name} still rises after epoch {len(means)}, to "
        f"{means[-1]:.4f}."
    ]


def _of_choice(runs: Runs, chosen: str, best: str) -> list[str]:
    epoch = runs.best_epoch(chosen)
    areas = runs.of(chosen)[0].epochs[epoch - 1]
    mean = runs.judge.mean(areas)
    rival = max(
        (run for run in runs.runs.values() if run.recipe.plain),
        key=lambda run: max(_means(runs, run)),
    )
    peak, means = _peak(runs, rival)
    if means[peak] == -math.inf:
        return [
            f"{chosen} ends at {mean:.4f} after {epoch} epochs; no plain "
            "recipe has an AUC."
        ]
    if chosen == rival.recipe.name and epoch == peak + 1:
        return [
            f"No recipe with a remedy is better than {chosen}, which has "
            f"{mean:.4f} after {epoch} epochs, by more than the noise."
        ]
    found = [
        f"{chosen} ends at {mean:.4f} after {epoch} epochs, "
        f"{mean - means[peak]:+.4f} against the best plain recipe "
        f"({rival.recipe.name}) stopped after epoch {peak + 1}."
    ]
    if chosen != best:
        ahead = runs.score(best, runs.best_epoch(best))
        ahead -= runs.score(chosen, epoch)
        found.append(
            f"{best} scores {ahead:.4f} better, which is within the noise, "
            "and is less simple."
        )
    return found


def _of_losses(runs: Runs, chosen: str) -> list[str]:
    areas = runs.of(chosen)[0].epochs[runs.best_epoch(chosen) - 1]
    return [
        f"{objective} ends {best - areas[objective]:.4f} below the best that "
        "a plain recipe had after any epoch; if it matters most, train that "
        "one for fewer epochs."
        for objective, best in runs.best_plain().items()
        if best - areas[objective] > judging.ALLOWED_LOSS
    ]


def _of_limits(runs: Runs, facts: Facts, pilot: records.Pilot) -> list[str]:
    found = []
    if pilot.sampled_by is not None:
        share = pilot.rows["train"] / facts.rows
        whole = (
            "single rows"
            if pilot.sampled_by == "row"
            else f"whole groups of {pilot.sampled_by}"
        )
        found.append(
            f"The pilot saw {share:.1%} of the training rows, {whole}: such a "
            "sample is sparser than the log and overfits more."
        )
    if pilot.not_tried:
        limit = "no time" if pilot.time_limit is not None else "no place"
        found.append(f"{len(pilot.not_tried)} more recipes found {limit}.")
    if pilot.stopped:
        found.append("Time was over before all comparisons were made.")
    if pilot.refused:
        found.append(
            f"{len(pilot.refused)} recipes do not go with this configuration "
            "or model; recommendation.json says why."
        )
    if pilot.diverged:
        found.append(
            f"{len(pilot.diverged)} recipes diverged: "
            f"{'; '.join(pilot.diverged)}."
        )
    if runs.trials.config.training.chunks == "in_order":
        found += _of_chunks(len(runs.trials.dataset.chunks))
    for objective, weight in runs.judge.weights.items():
        if weight < 0.5:
            found.append(
                f"{objective} has too few positives or negatives in "
                f"validation to tell much; it weighed {weight:.2f}."
            )
    return found


def none(runs: Runs, config: config_lib.ExperimentConfig) -> InputError:
    """Why there is nothing to propose.

    Args:
        runs: What was trained, none of it for the least epochs.
        config: The experiment.
    """
    diverged = set(runs.diverged())
    trained = {name for (name, _), run in runs.runs.items() if run.epochs}
    if diverged and trained == diverged:
        tables, rest = config.training.tables, config.training.rest
        return InputError(
            "A recipe that diverged is not proposed. Received: "
            f"{len(diverged)} recipes, which all diverged: a validation AUC "
            "was not a number. They came from training.tables.learning_rate="
            f"{tables.learning_rate} and training.rest.learning_rate="
            f"{rest.learning_rate}. Lower these, or see whether a dense "
            "feature is huge or not a number."
        )
    return InputError(
        "recommend.time_limit must be long enough to train one recipe for "
        f"{config.recommend.min_epochs} epochs. Received: "
        f"{config.recommend.time_limit} seconds, in which no recipe had "
        "them. Raise it, or lower recommend.max_rows."
    )


def _of_chunks(count: int) -> list[str]:
    if count == 1:
        return []
    return [
        f"training.chunks is in_order, where epochs are passes over each of "
        f"the {count} chunks; the pilot trained on all chunks together."
    ]


def _means(runs: Runs, run: Run) -> list[float]:
    means = [runs.judge.mean(areas) for areas in run.epochs]
    return [-math.inf if math.isnan(mean) else mean for mean in means] or [
        -math.inf
    ]


def _peak(runs: Runs, run: Run) -> tuple[int, list[float]]:
    means = _means(runs, run)
    return means.index(max(means)), means


def table(runs: Runs) -> tuple[records.Tried, ...]:
    """What was tried: finished recipes by falling score, then the others.

    Args:
        runs: What was trained.
    """
    finished = set(runs.finished())
    tried = []
    for (name, seed), run in runs.runs.items():
        epoch = runs.best_epoch(name) if name in finished else None
        tried.append(
            records.Tried(
                name=name,
                sentence=run.recipe.sentence,
                complexity=run.recipe.complexity,
                seed=seed,
                epochs=tuple(dict(areas) for areas in run.epochs),
                seconds=run.seconds,
                score=None if epoch is None else runs.score(name, epoch),
                best_epoch=epoch,
            )
        )
    return tuple(
        sorted(
            (one for one in tried if one.epochs),
            key=lambda one: (
                -len(one.epochs) if one.score is None else -math.inf,
                -math.inf if one.score is None else -one.score,
            ),
        )
    )
