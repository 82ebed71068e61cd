"""What smaller tables cost: bytes, load time, and how far answers moved."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.export import answer_changes
from tfplugin.export import predicting
from tfplugin.export import raw_inputs
from tfplugin.export.answer_changes import ObjectiveChange
from tfplugin.export.table_compression import TableSize


@dataclasses.dataclass(frozen=True)
class SizeReport:
    """What smaller tables saved and what they cost.

    Args:
        tables: Every table.
        folder_bytes: All files of the exported version.
        load_seconds: What `tf.saved_model.load` took.
        rows: Rows of the test split that were compared.
        objectives: Objective to its change.
    """

    tables: tuple[TableSize, ...]
    folder_bytes: int
    load_seconds: float
    rows: int
    objectives: dict[str, ObjectiveChange]

    @property
    def table_bytes_before(self) -> int:
        """Bytes of all tables as trained."""
        return sum(table.bytes_before for table in self.tables)

    @property
    def table_bytes(self) -> int:
        """Bytes of all tables as written."""
        return sum(table.bytes for table in self.tables)

    @property
    def folder_bytes_before(self) -> int:
        """What the files would take with the tables as trained.

        Reckoned from the tables' bytes and the keys that left vocabularies.
        """
        keys = sum(table.vocabulary_bytes_saved for table in self.tables)
        saved = self.table_bytes_before - self.table_bytes + keys
        return self.folder_bytes + saved

    def as_json(self) -> dict[str, Any]:
        """The report as JSON can say it: NaN is null.

        Example:
        >>> change = ObjectiveChange(0.0, 0.0, math.nan, math.nan, 1.0, 1.0)
        >>> report = SizeReport((), 10, 0.1, 5, {"buy": change})
        >>> report.as_json()["objectives"]["buy"]["auc"] is None
        True
        """
        derived = ("table_bytes_before", "table_bytes", "folder_bytes_before")
        found = dataclasses.asdict(self)
        found |= {name: getattr(self, name) for name in derived}
        for name, change in self.objectives.items():
            found["objectives"][name] = {
                key: value if math.isfinite(value) else None
                for key, value in (
                    dataclasses.asdict(change)
                    | {
                        "auc_change": change.auc_change,
                        "calibration_change": change.calibration_change,
                    }
                ).items()
            }
        return found


class BoundExceededError(InputError):
    """A model would answer worse than `Bounds` allow.

    Example:
    >>> issubclass(BoundExceededError, InputError)
    True
    """


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How much worse an exported model may be; None for any.

    Args:
        auc: By how much an objective's AUC may fall.
        calibration: By how much an objective's mean probability over mean
            label may change.
        probability: By how much any probability may change.

    Example:
    >>> Bounds(auc=0.001).auc
    0.001
    """

    auc: float | None = None
    calibration: float | None = None
    probability: float | None = None

    def check(self, report: SizeReport) -> None:
        """Refuses a model that is worse than allowed.

        Args:
            report: What was measured.

        Raises:
            BoundExceededError: A bound is exceeded. What the rows cannot
                tell, such as an AUC without positives, exceeds none.
        """
        for objective, change in report.objectives.items():
            self._check(
                "auc",
                f"the AUC of {objective} fell by",
                -change.auc_change,
                change.auc_before,
            )
            self._check(
                "calibration",
                f"mean probability over mean label of {objective} changed by",
                abs(change.calibration_change),
                change.calibration_before,
            )
            self.check_probability(objective, change.largest_change)

    def check_probability(self, objective: str, change: float) -> None:
        """Refuses a change of a single probability.

        Args:
            objective: What it is a probability of.
            change: How far it moved.

        Raises:
            BoundExceededError: That is more than `probability`.

        Example:
        >>> Bounds(probability=0.1).check_probability("buy", 0.05)
        """
        self._check(
            "probability", f"a probability of {objective} changed by", change
        )

    def _check(
        self, bound: str, words: str, measured: float, before: float = 0.0
    ) -> None:
        allowed = getattr(self, bound)
        # NaN before: the rows lack a class, and nothing is known. NaN
        # afterwards alone exceeds every bound, as no comparison holds for it.
        if allowed is None or math.isnan(before) or measured <= allowed:
            return
        raise BoundExceededError(
            "An exported model must stay within export.bounds. Received: "
            f"{words} {measured:.6g}, where export.bounds.{bound} allows "
            f"{allowed:g}; nothing was exported. Compress less in "
            "export.tables, or raise the bound."
        )


def loaded_answer(
    folder: str | pathlib.Path, schema: schema_lib.Schema
) -> tuple[answer_changes.Answer, float]:
    """Loads an exported version, to ask its `serving_default`.

    Args:
        folder: The version's folder.
        schema: The columns it was exported with.

    Returns:
        A function of a batch's features, and the seconds loading took.
    """
    start = time.perf_counter()
    loaded = tf.saved_model.load(str(folder))
    seconds = time.perf_counter() - start

    def answer(features: predicting.Features) -> Mapping[str, tf.Tensor]:
        # Not the signature alone: it does not keep its variables alive.
        serve = loaded.signatures["serving_default"]
        return serve(**raw_inputs.from_features(features, schema))

    return answer, seconds


def measure(
    folder: str | pathlib.Path,
    schema: schema_lib.Schema,
    tables: Sequence[TableSize],
    predict: predicting.Predict,
    batches: tf.data.Dataset,
    *,
    max_rows: int | None = None,
) -> SizeReport:
    """Compares an exported version with the model it is of.

    Both answer the same rows, a batch at a time.

    Args:
        folder: The version's folder, as it will be shipped.
        schema: The model's columns.
        tables: What became of its tables.
        predict: The trained model with its own tables, outside of
            `compressing`; see `predicting.predict_function`.
        batches: (features, labels, sample weights), such as `Dataset.test`.
        max_rows: The rows after which to stop, at the end of a batch; None
            for all.

    Returns:
        The report.
    """
    answer, seconds = loaded_answer(folder, schema)
    spec = batches.element_spec[0]

    @tf.function(input_signature=[spec], autograph=False)
    def before(features: predicting.Features) -> dict[str, tf.Tensor]:
        first = next(iter(features.values()))
        rows = first.nrows() if isinstance(first, tf.RaggedTensor) else None
        if rows is None:
            rows = tf.shape(first)[0]
        return predict(features, tf.cast(rows, tf.int32))

    rows, objectives = answer_changes.compare(
        batches, before, answer, schema.labels, max_rows=max_rows
    )
    return SizeReport(
        tables=tuple(tables),
        folder_bytes=folder_bytes(folder),
        load_seconds=seconds,
        rows=rows,
        objectives=objectives,
    )


def folder_bytes(folder: str | pathlib.Path) -> int:
    """Bytes of all files in a folder, however deep.

    Args:
        folder: The folder.

    Example:
    >>> import tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a").write_bytes(b"123")
    >>> folder_bytes(folder)
    3
    """
    files = pathlib.Path(folder).rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())
