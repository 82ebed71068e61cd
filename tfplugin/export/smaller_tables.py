"""Which tables an export writes smaller, and what that may cost."""

import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager

import keras
import numpy as np
import tensorflow as tf

from tfplugin import calibration as calibration_lib
from tfplugin import schema as schema_lib
from tfplugin.export import golden as golden_lib
from tfplugin.export import predicting
from tfplugin.export import size_report
from tfplugin.export import table_compression


@dataclasses.dataclass(frozen=True, eq=False)
class SmallerTables:
    """How tables are written, and by which rows that is judged.

    Args:
        plan: Table to how it is written; see `table_compression.compressing`.
        counts: Rows' counts of the tables that are pruned; likewise.
        test: (features, labels, sample weights) of rows that the trained
            model and the exported one answer, such as `Dataset.test`; None to
            compare nothing.
        bounds: How much worse the answers to these may be.

    Example:
    >>> plan = {"default": table_compression.TableCompression("float16")}
    >>> SmallerTables(plan).changes
    True
    """

    plan: Mapping[str, table_compression.TableCompression] = dataclasses.field(
        default_factory=dict
    )
    counts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    test: tf.data.Dataset | None = None
    bounds: size_report.Bounds = size_report.Bounds()

    @property
    def changes(self) -> bool:
        """Whether any table is written otherwise than trained."""
        return any(how.changes for how in self.plan.values())

    def read_by(
        self, model: keras.Model
    ) -> AbstractContextManager[table_compression.CompressedTables]:
        """Makes a model read the smaller tables; see `compressing`.

        Args:
            model: The trained model.
        """
        return table_compression.compressing(model, self.plan, self.counts)

    def measure(
        self,
        folder: pathlib.Path,
        schema: schema_lib.Schema,
        sizes: Sequence[table_compression.TableSize],
        predict: predicting.Predict,
    ) -> size_report.SizeReport | None:
        """What the smaller tables saved and cost.

        Args:
            folder: The SavedModel.
            schema: The model's columns.
            sizes: What became of its tables.
            predict: The trained model.

        Returns:
            None if nothing changed or nothing is to be compared.

        Raises:
            BoundExceededError: A bound is exceeded.
        """
        if not self.changes or self.test is None:
            return None
        report = size_report.measure(folder, schema, sizes, predict, self.test)
        self.bounds.check(report)
        return report

    def answers(
        self,
        golden: golden_lib.GoldenRequests,
        model: keras.Model,
        schema: schema_lib.Schema,
        calibration: calibration_lib.CalibrationRecord | None = None,
    ) -> golden_lib.GoldenRequests:
        """What the model in Python answers once it reads the smaller tables.

        A server must answer the same; how far that is from the trained model
        is for the bounds to judge, not for those who compare the two.

        Args:
            golden: As the trained model answers them.
            model: Inside of `table_compression.compressing`, outside of
                `layers.exporting`.
            schema: The model's columns.
            calibration: How its logits are calibrated.

        Returns:
            The same requests; `golden` if no table is smaller.

        Raises:
            BoundExceededError: A probability changed by more than its bound.
        """
        if not self.changes:
            return golden
        curves = calibration.curves() if calibration else {}
        smaller = golden_lib.of_rows(
            golden.rows,
            model,
            schema,
            calibrate=calibration_lib.CalibratedLogits(curves),
        )
        for objective, expected in golden.probabilities.items():
            change = np.abs(smaller.probabilities[objective] - expected)
            self.bounds.check_probability(
                objective, float(change.max(initial=0.0))
            )
        return smaller
