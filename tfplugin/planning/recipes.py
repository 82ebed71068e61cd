"""Recipes against overfitting over many epochs, and which to try first."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfplugin import config as config_lib
from tfplugin.config import tables_optimizer as rules
from tfplugin.config import training
from tfplugin.planning.recommend_facts import Facts

CONSTANT = {"law": "constant"}
LOG = {"law": "log_frequency"}
#: A usual rate of each rule, from which the search starts where the
#: configuration has another rule.
USUAL_RATES = {"adagrad": 0.05, "rowwise_adagrad": 0.05, "lazy_adam": 0.001}
#: Rates are searched by this factor, up and down.
STEP = 3.0
#: Later, around the best.
FINE_STEP = 1.7

_LAWS = {
    "constant": "every row learns at one rate",
    "log_frequency": "rows of rare ids learn slower",
    "power_frequency": "rows of rare ids learn slower",
    "saturating_frequency": "rows of rare ids learn slower, up to a count",
    "inverse_frequency": "rows of frequent ids learn slower",
    "tail_decrease": "rows learn slower by FBGEMM's counter",
}
_REMEDIES = {
    "embedding_reset": "tables are drawn anew before every further epoch",
    "freeze_tables": "after the first epochs only the dense layers learn",
    "adaptive_regularization": "rows shrink by the steps they were absent in",
    "frequency_weight_decay": "rows of rare ids decay faster",
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How tables are trained over many epochs.

    Args:
        rule: Of the tables' optimizer.
        learning_rate: Of the tables.
        rest_factor: Of the configured learning rate of all other weights.
        row_rate: The section `training.tables.row_rate`.
        evidence: The section `training.tables.counts.weights`; empty for the
            configured one.
        remedies: The section `training.remedies`.
        min_count: Table to the least count of an id that has its own row.

    Example:
    >>> recipe = Recipe("adagrad", 0.05, 1.0, LOG, remedies={"cow_clip": {}})
    >>> recipe.name, recipe.family, recipe.complexity
    ('adagrad 0.05, log_frequency, cow_clip', 'rates, cow_clip', 2)
    """

    rule: str
    learning_rate: float
    rest_factor: float = 1.0
    row_rate: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: CONSTANT
    )
    evidence: Mapping[str, float] = dataclasses.field(default_factory=dict)
    remedies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    min_count: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether there is no remedy in it, but a rule and its rate."""
        return self.complexity == 0

    @property
    def complexity(self) -> int:
        """How many things there are in it that a plain recipe has not."""
        return (
            (self.row_rate != CONSTANT)
            + bool(self.evidence)
            + len(self.remedies)
            + bool(self.min_count)
        )

    @property
    def family(self) -> str:
        """What it does against overfitting, whatever its rates."""
        parts = ["rates"] if self.row_rate != CONSTANT else []
        parts += sorted(self.remedies)
        parts += ["min_count"] if self.min_count else []
        return ", ".join(parts) or "plain"

    @property
    def name(self) -> str:
        """All that it is, so that two recipes differ in it."""
        law = self.row_rate["law"] + _options(
            {k: v for k, v in self.row_rate.items() if k != "law"}
        )
        if self.evidence:
            law += " of " + "+".join(self.evidence)
        parts = [f"{self.rule} {self.learning_rate:g}", law]
        parts += [f"{n}{_options(o)}" for n, o in self.remedies.items()]
        if self.min_count:
            parts.append("min_count" + _options(self.min_count))
        if self.rest_factor != 1.0:
            parts.append(f"rest x {self.rest_factor:.3g}")
        return ", ".join(parts)

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        parts = [_LAWS[self.row_rate["law"]]]
        parts += [_REMEDIES.get(name, name) for name in self.remedies]
        if self.min_count:
            parts.append("rare ids share a row")
        return "; ".join(parts)

    def changes(self, config: config_lib.ExperimentConfig) -> dict[str, Any]:
        """What it changes in a configuration.

        Args:
            config: Whose constants of the rule, decay and clipping stay.

        Returns:
            Dotted key to its value, for `config.with_changes`.
        """
        tables = config.training.tables.model_dump(
            mode="json", exclude_none=True, exclude_unset=True
        )
        if self.rule != config.training.tables.rule:
            # A constant of one rule is not of another.
            of_rules = {
                n for names in rules.RULE_CONSTANTS.values() for n in names
            }
            tables = {k: v for k, v in tables.items() if k not in of_rules}
        counts = tables.pop("counts", {})
        law = dict(self.row_rate)
        tables |= {
            "rule": self.rule,
            "learning_rate": self.learning_rate,
            "row_rate": law["law"] if len(law) == 1 else law,
        }
        if self.evidence:
            counts = {"weights": dict(self.evidence)}
        if counts and training.counts_are_read(law["law"], self.remedies):
            tables["counts"] = counts
        changes: dict[str, Any] = {
            "training.tables": tables,
            "training.remedies": {
                name: dict(options) if options else True
                for name, options in self.remedies.items()
            },
        }
        if self.rest_factor != 1.0:
            rate = config.training.rest.learning_rate * self.rest_factor
            changes["training.rest.learning_rate"] = _rounded(rate)
        for table, count in self.min_count.items():
            changes[f"tables.{table}.min_count"] = count
        return changes


def _options(options: Mapping[str, Any]) -> str:
    if not options:
        return ""
    inside = ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in options.items()
    )
    return f" ({inside})"


def configured(config: config_lib.ExperimentConfig) -> Recipe:
    """The recipe that a configuration has now."""
    settings = config.training
    row_rate = settings.tables.row_rate
    weights = settings.tables.counts.weights
    return Recipe(
        rule=settings.tables.rule,
        learning_rate=settings.tables.learning_rate,
        row_rate=row_rate.model_dump(mode="json", exclude_none=True),
        evidence={}
        if not training.counts_are_read(row_rate.law, settings.remedies)
        or weights == {rules.OCCURRENCES: 1.0}
        else weights,
        remedies={
            name: remedy.model_dump(mode="json", exclude_unset=True)
            for name, remedy in settings.remedies.items()
        },
    )


def catalogue(
    config: config_lib.ExperimentConfig, facts: Facts
) -> tuple[Recipe, ...]:
    """Recipes to try, those first that should be tried if time is short.

    The configured rule and rate are where the search starts. Statistics only
    set the order; what is chosen, the pilot decides.

    Args:
        config: The experiment.
        facts: What the statistics say of its tables.

    Returns:
        Distinct recipes; the first is the plain one.
    """
    now = configured(config)
    plain = Recipe(now.rule, now.learning_rate)
    found = [plain]
    found += _first_sparse(plain) if facts.sparse else _first_dense(plain)
    found += [now, *_other_rules(plain), *_rates(plain), *_others(plain)]
    found += _by_statistics(plain, config, facts)
    unique = {recipe.name: recipe for recipe in found}
    return tuple(unique.values())


def _scaled(recipe: Recipe, factor: float, **more: Any) -> Recipe:
    rate = _rounded(recipe.learning_rate * factor)
    return dataclasses.replace(recipe, learning_rate=rate, **more)


def _rounded(rate: float) -> float:
    """To three digits, which is all that a rate is worth."""
    return float(f"{rate:.3g}")


_RESET: dict[str, Any] = {"embedding_reset": {}}


def _first_sparse(plain: Recipe) -> list[Recipe]:
    return [
        dataclasses.replace(plain, row_rate=LOG, remedies=_RESET),
        dataclasses.replace(plain, row_rate=LOG),
        dataclasses.replace(plain, remedies=_RESET),
        _scaled(plain, 1 / STEP),
        _scaled(plain, STEP, row_rate=LOG, remedies=_RESET),
    ]


def _first_dense(plain: Recipe) -> list[Recipe]:
    return [
        _scaled(plain, 1 / STEP),
        _scaled(plain, STEP),
        dataclasses.replace(plain, row_rate=LOG),
        dataclasses.replace(plain, row_rate=LOG, remedies=_RESET),
        dataclasses.replace(plain, remedies=_RESET),
    ]


def _other_rules(plain: Recipe) -> list[Recipe]:
    others = []
    for rule, rate in USUAL_RATES.items():
        # The two Adagrads learn alike; one of them is enough to begin with.
        if rule.removeprefix("rowwise_") == plain.rule.removeprefix("rowwise_"):
            continue
        if rule == "rowwise_adagrad":
            continue
        other = dataclasses.replace(plain, rule=rule, learning_rate=rate)
        others += [
            other,
            dataclasses.replace(other, row_rate=LOG, remedies=_RESET),
        ]
    return others


def _rates(plain: Recipe) -> list[Recipe]:
    return [
        _scaled(plain, STEP),
        _scaled(plain, STEP, remedies=_RESET),
        _scaled(plain, 1 / STEP, row_rate=LOG),
        _scaled(plain, 1 / STEP, row_rate=LOG, remedies=_RESET),
    ]


def _others(plain: Recipe) -> list[Recipe]:
    # A row that an epoch sees once is gone before it comes again.
    shrunk = {"adaptive_regularization": {"strength": 1.0}}
    frozen = {"freeze_tables": {"after_epochs": 1}}
    return [
        dataclasses.replace(plain, row_rate=LOG, remedies=shrunk),
        dataclasses.replace(plain, row_rate=LOG, remedies=frozen),
        dataclasses.replace(plain, remedies=shrunk),
        dataclasses.replace(plain, remedies=frozen),
        dataclasses.replace(
            plain, remedies={"frequency_weight_decay": {"strength": 1.0}}
        ),
    ]


def _by_statistics(
    plain: Recipe, config: config_lib.ExperimentConfig, facts: Facts
) -> list[Recipe]:
    found = []
    names = [table.name for table in facts.tables if table.thin]
    if 0 < len(names) < len(facts.tables):
        some: dict[str, Any] = {"embedding_reset": {"tables": names}}
        found += [
            dataclasses.replace(plain, row_rate=LOG, remedies=some),
            dataclasses.replace(plain, remedies=some),
        ]
    if names:
        found.append(
            dataclasses.replace(
                plain,
                # Else an id without a positive would never learn.
                row_rate={**LOG, "floor": 0.1},
                evidence={facts.sparsest: 1.0},
                remedies=_RESET,
            )
        )
    rare = {
        table.name: 3
        for table in facts.tables
        if table.rare_share > 0.1 and _takes_min_count(config, table.name)
    }
    if rare:
        found.append(
            dataclasses.replace(
                plain, row_rate=LOG, remedies=_RESET, min_count=rare
            )
        )
    return found


def _takes_min_count(config: config_lib.ExperimentConfig, table: str) -> bool:
    """Whether what the user says of a table leaves its least count open."""
    settings = config.tables.get(table)
    if settings is None:
        return True
    given = settings.model_dump(exclude_none=True, exclude_unset=True)
    chosen = {"min_count", "top_n", "coverage", "num_buckets"}
    return settings.mapping == "vocabulary" and not chosen & given.keys()


def neighbours(recipe: Recipe) -> tuple[Recipe, ...]:
    """Recipes that differ from one in a single thing, the likeliest first.

    Args:
        recipe: The best so far.

    Example:
    >>> near = neighbours(Recipe("adagrad", 0.05))
    >>> near[0].name, near[1].name
    ('adagrad 0.085, constant', 'adagrad 0.0294, constant')
    """
    near = [_scaled(recipe, FINE_STEP), _scaled(recipe, 1 / FINE_STEP)]
    if recipe.row_rate == CONSTANT:
        near.append(dataclasses.replace(recipe, row_rate=LOG))
    else:
        steeper = {"law": "power_frequency", "exponent": 0.3}
        near += [
            dataclasses.replace(recipe, row_rate=CONSTANT, evidence={}),
            dataclasses.replace(recipe, row_rate=steeper),
        ]
    if recipe.remedies:
        near.append(dataclasses.replace(recipe, remedies={}))
    else:
        near.append(dataclasses.replace(recipe, remedies=_RESET))
    for step in (1 / STEP, STEP):
        factor = recipe.rest_factor * step
        # A third of three, or three of a third, is what it was.
        factor = 1.0 if _rounded(factor) == 1.0 else factor
        near.append(dataclasses.replace(recipe, rest_factor=factor))
    return tuple(near)
