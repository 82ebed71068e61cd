"""What is compared, what is searched, and how: decided before any run.

The test split is read for the final runs alone, and nothing is chosen by it.
"""

import dataclasses
from typing import Any

#: Logs, by the name of their configuration, cheapest first.
LOGS = (
    "trivago",
    "taobao_conversion",
    "movielens_1m",
    "funnel",
    "completejourney",
)
EPOCHS = 6
SEEDS = (0, 1, 2)
#: Epochs and seed of the search; what is chosen is best after the last.
SEARCH_EPOCHS = 4
SEARCH_SEED = 100
#: What `tfplugin recommend` may look at: all rows of these logs, and about as
#: many recipes as its ten minutes allow on 2 cores.
RECOMMEND_ROWS = 2_000_000
RECOMMEND_RECIPES = 24
#: CPU hours that everything together may take.
CPU_HOURS = 8.0

Changes = dict[str, Any]

_RATE = "training.tables.learning_rate"
_LAW = "training.tables.row_rate"
_REMEDIES = "training.remedies"
#: Rule and rates of METHODS' reference runs: all arms without a search.
BASE: Changes = {"training.tables.rule": "adagrad", _RATE: 0.05}
RATES = (0.015, 0.05, 0.15)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One contender.

    Args:
        name: As it is shown.
        summary: What it is, in one sentence.
        settings: What is searched on validation; one setting is taken as is.
        stopped: Whether it ends at its best validation epoch, instead of the
            last.
        epochs: Of the final runs.
        first: Whether it runs before those that are not: what the claims
            rest on, should time run out.
    """

    name: str
    summary: str
    settings: tuple[Changes, ...]
    stopped: bool = False
    epochs: int = EPOCHS
    first: bool = False


def _rates(changes: Changes) -> tuple[Changes, ...]:
    return tuple({**BASE, **changes, _RATE: rate} for rate in RATES)


_PLAIN: Changes = {_LAW: "constant"}
_FAL: Changes = {_LAW: "log_frequency"}
_LAZY: Changes = {"training.tables.rule": "lazy_adam", _RATE: 0.001}
#: The arm that takes what `tfplugin recommend` proposes.
RECOMMENDED = "recommended"
#: The best that a recipe without a remedy can do: stopped in time.
STOPPED = "plain, tuned"


def _remedy(law: Changes, **remedies: Any) -> Changes:
    return {**BASE, **law, _REMEDIES: remedies}


def arms(log: str, flat: dict[str, float], sparsest: str) -> list[Arm]:
    """The contenders on one log.

    Args:
        log: Its name.
        flat: Table to the mean over occurrences of its LogFrequency factors:
            the control that slows a table as much, and all of its rows alike.
        sparsest: The objective with the fewest positives.
    """
    del log  # the protocol is the same for all
    control = {
        f"tables.{table}.learning_rate_factor": factor
        for table, factor in flat.items()
    }
    evidence = {"weights": {sparsest: 1.0}}
    of_claims = [
        Arm("none", "Adagrad at 0.05, no remedy.", ({**BASE, **_PLAIN},)),
        Arm("FAL", "The same, LogFrequency.", ({**BASE, **_FAL},)),
        Arm(
            "flat control",
            "The same, each table slowed as FAL slows it on average.",
            ({**BASE, **_PLAIN, **control},),
        ),
        Arm("none, lazy Adam", "Lazy Adam at 0.001.", ({**_LAZY, **_PLAIN},)),
        Arm("FAL, lazy Adam", "The same, LogFrequency.", ({**_LAZY, **_FAL},)),
        Arm(
            "flat control, lazy Adam",
            "The same, each table slowed as FAL slows it on average.",
            ({**_LAZY, **_PLAIN, **control},),
        ),
        Arm(
            STOPPED,
            "Constant rates; rule and rate searched; stopped at the epoch "
            "that validation picks.",
            (
                *_rates(_PLAIN),
                {**BASE, **_PLAIN, "training.tables.rule": "rowwise_adagrad"},
                {**_PLAIN, **_LAZY, _RATE: 0.0003},
                {**_PLAIN, **_LAZY},
            ),
            stopped=True,
        ),
        Arm(
            "FAL, tuned",
            "LogFrequency; rate searched.",
            (
                *_rates(_FAL),
                {**_FAL, **_LAZY},
            ),
        ),
        Arm(
            "MEDA, tuned",
            "Tables redrawn every epoch; rate searched.",
            (
                *_rates({**_PLAIN, _REMEDIES: {"embedding_reset": {}}}),
                {**_PLAIN, **_LAZY, _REMEDIES: {"embedding_reset": {}}},
            ),
        ),
        Arm(
            "MEDA + FAL",
            "Both; rate searched.",
            _rates({**_FAL, _REMEDIES: {"embedding_reset": {}}}),
        ),
    ]
    others = [
        Arm(
            "power 0.5",
            "Rate of a row by the root of its share of the most frequent's.",
            _rates({_LAW: {"law": "power_frequency", "exponent": 0.5}}),
        ),
        Arm(
            "FAL by positives",
            f"LogFrequency of each id's positives of {sparsest}.",
            ({**BASE, **_FAL, "training.tables.counts": evidence},),
        ),
        Arm(
            "freeze",
            "Tables learn in the first epoch alone.",
            (
                _remedy(_PLAIN, freeze_tables={"after_epochs": 1}),
                _remedy(_FAL, freeze_tables={"after_epochs": 1}),
            ),
        ),
        Arm(
            "AR",
            "Adaptive regularisation; strength an epoch searched.",
            tuple(
                _remedy(_PLAIN, adaptive_regularization={"strength": strength})
                for strength in (0.3, 1.0, 3.0, 10.0)
            ),
        ),
        Arm(
            "CowClip",
            "Gradients of rows clipped by their norms; ratio searched.",
            tuple(
                _remedy(_PLAIN, cow_clip={"ratio": ratio})
                for ratio in (0.01, 0.1, 1.0)
            ),
        ),
        Arm(
            "DIN decay",
            "Decay of touched rows over their counts; strength searched.",
            tuple(
                _remedy(_PLAIN, frequency_weight_decay={"strength": strength})
                for strength in (0.1, 1.0, 10.0)
            ),
        ),
        Arm(
            "weight decay",
            "Decoupled decay of touched rows; strength searched.",
            tuple(
                {
                    **BASE,
                    **_PLAIN,
                    "training.tables.weight_decay": strength,
                }
                for strength in (0.01, 0.1, 1.0)
            ),
        ),
        Arm(
            "min count",
            "Ids seen less often share a row; threshold searched.",
            tuple(
                {
                    **BASE,
                    **_PLAIN,
                    **{f"tables.{table}.min_count": count for table in flat},
                }
                for count in (3, 10, 30)
            ),
        ),
        Arm(
            "double hash",
            "Two hashes, rows for a quarter of the ids; rate as the base.",
            (
                {
                    **BASE,
                    **_PLAIN,
                    "tables": "double_hash",
                },
            ),
        ),
        Arm(
            "objective stopping",
            "FAL, and an objective stops once its validation falls.",
            (_remedy(_FAL, objective_early_stopping={}),),
        ),
    ]
    return [
        *(dataclasses.replace(arm, first=True) for arm in of_claims),
        *others,
    ]
