"""The optimizer of the embedding tables: rule, rate of a row, counts."""

from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from tfplugin.config.records import Section

Rate = Annotated[float, pydantic.Field(gt=0)]
NotNegative = Annotated[float, pydantic.Field(ge=0)]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]
Steps = Annotated[int, pydantic.Field(ge=0)]

#: What the evidence of an id may weigh besides labels.
OCCURRENCES = "occurrences"

#: Constants of each rule, and of each law; all others are refused.
RULE_CONSTANTS = {
    "sgd": ("momentum",),
    "adagrad": ("initial_accumulator_value", "epsilon"),
    "rowwise_adagrad": ("initial_accumulator_value", "epsilon"),
    "lazy_adam": (
        "beta_1",
        "beta_2",
        "epsilon",
        "bias_correction",
        "replay_skipped_steps",
    ),
    "partial_rowwise_adam": ("beta_1", "beta_2", "epsilon"),
    "ftrl": (
        "learning_rate_power",
        "initial_accumulator_value",
        "l1",
        "l2",
        "l2_shrinkage",
        "beta",
    ),
}
_BOUNDS = ("special_rate", "floor", "cap", "warm_up_steps")
LAW_CONSTANTS = {
    "constant": ("value",),
    "log_frequency": _BOUNDS,
    "power_frequency": ("exponent", *_BOUNDS),
    "saturating_frequency": ("threshold", *_BOUNDS),
    "inverse_frequency": ("exponent", *_BOUNDS),
    "tail_decrease": (
        "exponent",
        "threshold",
        "start_step",
        "lowest",
        "highest",
        *_BOUNDS,
    ),
}


def _given_constants(
    section: Section,
    kind: str,
    chosen: str,
    constants: dict[str, tuple[str, ...]],
) -> dict[str, Any]:
    """The constants that are set; refuses those `chosen` does not take."""
    names = {name for taken in constants.values() for name in taken}
    given = {
        name: value
        for name in type(section).model_fields
        if name in names and (value := getattr(section, name)) is not None
    }
    taken = constants[chosen]
    for name in given:
        if name not in taken:
            takers = [key for key in constants if name in constants[key]]
            raise ValueError(
                f"`{name}` is for the {kind}s {', '.join(takers)}; {kind} "
                f"{chosen} takes {', '.join(taken)}. Leave `{name}` out"
            )
    return given


class RowRateConfig(Section):
    """How the rate of a row follows its count F; a law's name alone will do.

    A constant that is not given has the default of the law's class, in
    `tfplugin.optimizers`; one that the law does not have is refused.

    Args:
        law: `constant`; `log_frequency`: log(F + 1) / log(max F + 1) (arXiv
            2505.05605); `power_frequency`: (F / max F)^exponent;
            `saturating_frequency`: min(1, F / threshold); `inverse_frequency`:
            max(1, F)^-exponent; `tail_decrease`, FBGEMM's.
        value: The factor of `constant`.
        exponent: Of `power_frequency`, `inverse_frequency`, `tail_decrease`.
        threshold: The count from which `saturating_frequency` is 1, or above
            which `tail_decrease` acts.
        start_step: Updates of a table before `tail_decrease` acts.
        lowest: Least factor of `tail_decrease`.
        highest: Greatest factor of `tail_decrease`.
        special_rate: Factor of the rows for missing and unknown ids.
        floor: Least factor of an id.
        cap: Greatest factor of an id.
        warm_up_steps: Updates of a table over which its factors go from 1 to
            what the law says.
    """

    law: Literal[
        "constant",
        "log_frequency",
        "power_frequency",
        "saturating_frequency",
        "inverse_frequency",
        "tail_decrease",
    ] = "log_frequency"
    value: NotNegative | None = None
    exponent: NotNegative | None = None
    threshold: NotNegative | None = None
    start_step: Steps | None = None
    lowest: NotNegative | None = None
    highest: NotNegative | None = None
    special_rate: NotNegative | None = None
    floor: NotNegative | None = None
    cap: NotNegative | None = None
    warm_up_steps: Steps | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> "RowRateConfig":
        self.constants()
        if self.cap is not None and self.cap < (self.floor or 0.0):
            raise ValueError("`cap` must not be below `floor`")
        lowest = 0.1 if self.lowest is None else self.lowest
        highest = 1.0 if self.highest is None else self.highest
        if highest < lowest:
            raise ValueError(
                "`highest` (1 by default) must not be below `lowest` (0.1 by "
                "default)"
            )
        if self.law == "saturating_frequency" and self.threshold == 0.0:
            raise ValueError("`threshold` must be greater than 0")
        return self

    def constants(self) -> dict[str, Any]:
        """The law's constants that are given, by name."""
        return _given_constants(self, "law", self.law, LAW_CONSTANTS)


class CountsConfig(Section):
    """What the rate of a row counts.

    Args:
        source: `dataset`, the training rows, counted before training;
            `online`, the batches as they come; `both`, online from the
            dataset's counts on.
        unit: What counts online: `occurrences`, each one, or `batches`, one a
            batch that has the id.
        half_life: Updates of a table in which a count that nothing adds to
            falls to its half, online; none for never.
        weights: Weight of `occurrences` and of labels in the dataset's counts;
            `{click: 1}` counts the rows with a click alone. What is not named
            weighs 0.
    """

    source: Literal["dataset", "online", "both"] = "dataset"
    unit: Literal["occurrences", "batches"] = "occurrences"
    half_life: Rate | None = None
    weights: dict[str, NotNegative] = {OCCURRENCES: 1.0}

    @property
    def from_dataset(self) -> bool:
        """Whether counts are set before training."""
        return self.source != "online"

    @property
    def grow_online(self) -> bool:
        """Whether rows are counted while training."""
        return self.source != "dataset"

    @pydantic.model_validator(mode="after")
    def _check(self) -> "CountsConfig":
        for name in ("unit", "half_life"):
            given = name in self.model_fields_set
            given = given and getattr(self, name) is not None
            if given and not self.grow_online:
                raise ValueError(
                    f"`{name}` is for counts grown online; set `source: "
                    "online` or `source: both`, or leave it out"
                )
        if "weights" in self.model_fields_set and not self.from_dataset:
            raise ValueError(
                "`weights` is for the counts of the dataset; set `source: "
                "dataset` or `source: both`, or leave it out"
            )
        if not any(self.weights.values()):
            raise ValueError(
                "`weights` must hold a weight above 0, as in {click: 1}"
            )
        return self


class TablesOptimizerConfig(Section):
    """The sparse optimizer of all embedding tables.

    A constant that is not given has the default of the rule's class, in
    `tfplugin.optimizers`; one that the rule does not have is refused.

    Args:
        rule: `sgd`, `adagrad`, `rowwise_adagrad`, `lazy_adam`,
            `partial_rowwise_adam` or `ftrl`.
        learning_rate: Base rate.
        row_rate: A law's name, or a section; `log_frequency` by default.
        counts: What the law counts.
        momentum: Momentum of `sgd`.
        initial_accumulator_value: Where the accumulators of `adagrad`,
            `rowwise_adagrad` and `ftrl` start.
        beta_1: Decay of the first moment, `lazy_adam` and
            `partial_rowwise_adam`.
        beta_2: Decay of the second moment, the same rules.
        epsilon: Added to the root, all Adagrads and Adams.
        bias_correction: `global`, by the steps of the table, or `row`, by those
            of the row; `lazy_adam`.
        replay_skipped_steps: Whether a row catches up on the steps it was
            absent in; `lazy_adam`.
        learning_rate_power: Power of `ftrl`'s accumulator, not positive.
        l1: Strength of `ftrl`'s L1 regularisation.
        l2: Strength of its L2 regularisation.
        l2_shrinkage: Strength of its L2 shrinkage.
        beta: Its beta.
        weight_decay: Decoupled decay of touched rows.
        compound_weight_decay: Whether a row also takes the decay of the steps
            it was absent in.
        clip_value: Limit of each element of a row's summed gradient.
        clip_row_norm: Limit of the norm of a row's summed gradient.
        clip_global_norm: Limit of the norm of all tables' gradients.
    """

    rule: Literal[
        "sgd",
        "adagrad",
        "rowwise_adagrad",
        "lazy_adam",
        "partial_rowwise_adam",
        "ftrl",
    ] = "rowwise_adagrad"
    learning_rate: Rate = 0.05
    row_rate: RowRateConfig = RowRateConfig()
    counts: CountsConfig = CountsConfig()
    momentum: Fraction | None = None
    initial_accumulator_value: NotNegative | None = None
    beta_1: Fraction | None = None
    beta_2: Fraction | None = None
    epsilon: NotNegative | None = None
    bias_correction: Literal["global", "row"] | None = None
    replay_skipped_steps: bool | None = None
    learning_rate_power: Annotated[float, pydantic.Field(le=0)] | None = None
    l1: NotNegative | None = None
    l2: NotNegative | None = None
    l2_shrinkage: NotNegative | None = None
    beta: NotNegative | None = None
    weight_decay: NotNegative | None = None
    compound_weight_decay: bool = False
    clip_value: Rate | None = None
    clip_row_norm: Rate | None = None
    clip_global_norm: Rate | None = None

    @pydantic.field_validator("row_rate", mode="before")
    @classmethod
    def _law_alone(cls, value: object) -> object:
        return {"law": value} if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _check(self) -> "TablesOptimizerConfig":
        self.constants()
        clips = ("clip_value", "clip_row_norm", "clip_global_norm")
        given = [name for name in clips if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                "at most one clipping may be set; received "
                f"{' and '.join(given)}"
            )
        if self.compound_weight_decay and self.weight_decay is None:
            raise ValueError("`compound_weight_decay` needs `weight_decay`")
        return self

    def constants(self) -> dict[str, Any]:
        """The rule's constants that are given, by name."""
        return _given_constants(self, "rule", self.rule, RULE_CONSTANTS)

    def options(self) -> dict[str, Any]:
        """Weight decay and clipping, by the names all rules give them."""
        return {
            "weight_decay": self.weight_decay,
            "compound_weight_decay": self.compound_weight_decay,
            "clip_value": self.clip_value,
            "clip_row_norm": self.clip_row_norm,
            "clip_global_norm": self.clip_global_norm,
        }
