"""What a recommendation says, and the part of a configuration that does it."""

import dataclasses
from typing import Any

import yaml

from tfplugin import config as config_lib
from tfplugin.planning.recommend_facts import Facts


@dataclasses.dataclass(frozen=True)
class Tried:
    """One recipe and what its pilot training measured.

    Args:
        name: What tells it from the others.
        sentence: What it does.
        complexity: How many things it has that a plain recipe has not.
        seed: Of its training.
        epochs: After each epoch, objective to validation AUC.
        seconds: What training it took.
        score: By which recipes that reached the least epochs are compared;
            None for the others.
        best_epoch: Of those from the least epochs on, the one that scored
            best; None likewise.
    """

    name: str
    sentence: str
    complexity: int
    seed: int
    epochs: tuple[dict[str, float], ...]
    seconds: float
    score: float | None
    best_epoch: int | None


@dataclasses.dataclass(frozen=True)
class Pilot:
    """What the pilot had and spent.

    Args:
        rows: Split to the rows of the sample.
        sampled_by: None if these are all; else the feature whose groups are
            whole, or `row`.
        seconds: It took.
        time_limit: Seconds it might take; None if it was not looked at.
        seconds_per_epoch: Of one recipe.
        seconds_to_start: Of one recipe, before its first epoch.
        not_tried: Recipes there was no time for.
        refused: Recipes that do not go with the configuration, and why.
        stopped: Whether time was over before a comparison was.
        diverged: Recipes with an AUC that was not a number after an epoch.
    """

    rows: dict[str, int]
    sampled_by: str | None
    seconds: float
    time_limit: int | None
    seconds_per_epoch: float
    seconds_to_start: float
    not_tried: tuple[str, ...]
    refused: dict[str, str]
    stopped: bool
    diverged: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What is proposed for training a dataset over many epochs.

    Args:
        name: The experiment.
        dataset_fingerprint: Of the dataset the pilot trained on.
        recipe: Name of the chosen one.
        sentence: What it does.
        epochs: How many to train.
        changes: Dotted key of the configuration to its value.
        because: Why, a sentence each.
        weights: Objective to what its AUC weighed in the score.
        noise: Difference of scores that was taken for none.
        facts: What the statistics say.
        tried: The recipes, by falling score, those without last.
        pilot: What it had and spent.
    """

    name: str
    dataset_fingerprint: str
    recipe: str
    sentence: str
    epochs: int
    changes: dict[str, Any]
    because: tuple[str, ...]
    weights: dict[str, float]
    noise: float
    facts: Facts
    tried: tuple[Tried, ...]
    pilot: Pilot

    def sections(self) -> dict[str, Any]:
        """The changes as sections of a configuration."""
        return nested(self.changes)

    def to_yaml(self) -> str:
        """Part of a configuration, `training` and perhaps `tables`."""
        why = "".join(f"# {line}\n" for line in (self.recipe, *self.because))
        return why + yaml.safe_dump(
            self.sections(), sort_keys=False, allow_unicode=True
        )

    def to_json(self) -> dict[str, Any]:
        """What recommendation.json holds."""
        return {
            "version": 1,
            **dataclasses.asdict(self),
            "yaml": self.to_yaml(),
        }

    def overrides(self) -> list[str]:
        """The changes as what `--set` takes."""
        return [f"{key}={flow(value)}" for key, value in self.changes.items()]


def nested(changes: dict[str, Any]) -> dict[str, Any]:
    """Sections from dotted keys.

    Example:
    >>> nested({"training.epochs": 4, "training.tables": {"rule": "sgd"}})
    {'training': {'epochs': 4, 'tables': {'rule': 'sgd'}}}
    """
    sections: dict[str, Any] = {}
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = sections
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return sections


def flow(value: Any) -> str:
    """A value as YAML in one line.

    Example:
    >>> flow({"rule": "adagrad", "learning_rate": 0.05}), flow(4)
    ('{rule: adagrad, learning_rate: 0.05}', '4')
    """
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=float("inf")
    )
    return text.removesuffix("...\n").rstrip("\n")


def apply(
    changes: dict[str, Any], config: config_lib.ExperimentConfig
) -> config_lib.ExperimentConfig:
    """The configuration that does as recommended, and asks for nothing more.

    Args:
        changes: Those of a `Recommendation`.
        config: Stays as it is.

    Raises:
        InputError: They do not fit the configuration.
    """
    return config_lib.with_changes(
        config, {**changes, "training.multi_epoch": "manual"}
    )
