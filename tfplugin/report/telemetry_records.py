"""`telemetry` of `history.json` as this room reads it."""

from tfplugin.report.json_values import Record
from tfplugin.report.json_values import Value

#: Buckets of ids by their occurrences in training rows, rarest first.
BUCKETS = (
    "missing",
    "0",
    "1",
    "2-4",
    "5-16",
    "17-64",
    "65-256",
    "257-1024",
    "1025-4096",
    "4097+",
)


class Bucket(Record):
    """Rows whose rarest id of a table was seen about as often.

    Args:
        bucket: One of `BUCKETS`.
        rows: Rows in which the objective was observed.
        positives: Those of them in which it was positive.
        auc: Area under the ROC curve.
        normalized_entropy: Cross entropy over that of the base rate.
        calibration: Predicted over observed positives.
    """

    bucket: str
    rows: int
    positives: int
    auc: Value = None
    normalized_entropy: Value = None
    calibration: Value = None


class Point(Record):
    """A point of the calibration curve.

    Args:
        prediction: Mean probability.
        rate: Mean label.
        rows: Rows in it.
        positives: Positives among them.
    """

    prediction: float
    rate: float
    rows: int
    positives: int


class Ranking(Record):
    """How the rows of each group are ranked.

    Args:
        auc: Mean of the groups' AUC, weighted by rows.
        groups: Groups that have both classes.
        rows: Their rows.
        ndcg: Mean NDCG at `k` over groups that have a positive.
        ndcg_groups: How many they are.
        k: Ranks that NDCG looks at.
    """

    auc: Value = None
    groups: int = 0
    rows: int = 0
    ndcg: Value = None
    ndcg_groups: int = 0
    k: int = 10


class Evidence(Record):
    """What was measured of one objective.

    Args:
        tables: Table to its buckets that have rows, rarest first.
        calibration_curve: Its points, by rising prediction.
        group: Ranking within groups; None where the log has none.
        request: Ranking within requests, likewise.
    """

    tables: dict[str, tuple[Bucket, ...]] = {}
    calibration_curve: tuple[Point, ...] = ()
    group: Ranking | None = None
    request: Ranking | None = None


class EvidencePass(Record):
    """One pass over a split.

    Args:
        objectives: Objective to what was measured of it.
    """

    objectives: dict[str, Evidence] = {}

    def of(self, objective: str) -> Evidence:
        """What was measured of an objective; nothing if it was not."""
        return self.objectives.get(objective, Evidence())


class RowBucket(Record):
    """What an epoch did to rows of a table whose ids were seen as often.

    Args:
        bucket: One of `BUCKETS`.
        rows: Rows of the table in it.
        sampled: Rows that were looked at.
        norm: Mean length of these.
        update: Mean length of their change.
        touched: Share of them that changed.
    """

    bucket: str
    rows: int
    sampled: int
    norm: Value = None
    update: Value = None
    touched: Value = None


class TrainingLoss(Record):
    """The loss at either end of an epoch.

    Args:
        window: Steps that each is a mean of.
        first: Of the first steps.
        last: Of the last ones.
        jump: `first` minus `last` of the epoch before.
    """

    window: int = 1
    first: Value = None
    last: Value = None
    jump: Value = None


class Gap(Record):
    """How much better training is than validation.

    Args:
        auc: AUC of training minus that of validation.
        loss: Loss of validation minus that of training.
    """

    auc: Value = None
    loss: Value = None


class Telemetry(Record):
    """What was measured of an epoch besides its metrics.

    Args:
        seconds: Time that measuring it took.
        training_loss: At the epoch's ends.
        generalization_gap: Objective to its gap.
        rows: Table to its buckets.
        validation: The pass over the validation split.
    """

    seconds: Value = None
    training_loss: TrainingLoss = TrainingLoss()
    generalization_gap: dict[str, Gap] = {}
    rows: dict[str, tuple[RowBucket, ...]] = {}
    validation: EvidencePass = EvidencePass()
