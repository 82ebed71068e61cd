"""Calibration of a trained model, from its validation split to its file."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import keras
import pydantic
import tensorflow as tf

from tfplugin import artifacts
from tfplugin import calibration
from tfplugin import config as config_lib
from tfplugin import metrics
from tfplugin.errors import InputError

if TYPE_CHECKING:
    from tfplugin.training.experiment import Experiment

_REDO = "Run `tfplugin train --overwrite`."


def fit(experiment: "Experiment") -> calibration.CalibrationRecord | None:
    """Fits what `training.calibration` asks for, in one pass over validation.

    Scores are those of the model as it stands outside of training: sampled
    negatives are undone. Masked labels and example weights count as in the
    metrics.

    Args:
        experiment: Trained.

    Returns:
        None where no calibration is configured.
    """
    method = experiment.config.training.calibration
    if method == "none":
        return None
    model, base_rates = experiment.model, experiment.base_rates
    counts = {name: calibration.ScoreCounts() for name in base_rates}
    # Traced once: ragged features have another shape in every batch.
    predict = tf.function(
        lambda features: model(features, training=False), reduce_retracing=True
    )
    batches = experiment.dataset.validation(
        experiment.config.training.batch_size
    )
    for features, labels, weights in batches:
        logits = predict(features)
        for name, counted in counts.items():
            counted.add(labels[name], logits[name], weights[name])
    sampled = experiment.sampled
    return calibration.CalibrationRecord(
        method=method,
        dataset_fingerprint=experiment.work.dataset.fingerprint(),
        model_fingerprint=calibration.model_fingerprint(model),
        sampling_rate=sampled.rate if sampled else None,
        objectives={
            name: calibration.fit(counted, method, base_rates[name])
            for name, counted in counts.items()
        },
    )


def read(
    work: artifacts.WorkFolder,
    config: config_lib.ExperimentConfig,
    model: keras.Model,
) -> calibration.CalibrationRecord | None:
    """The calibration of a finished training.

    Args:
        work: Its folder.
        config: Its configuration.
        model: With its final weights.

    Returns:
        None where no calibration is configured.

    Raises:
        InputError: `calibration.json` is absent, malformed, or of another
            dataset or model.
    """
    if config.training.calibration == "none":
        return None
    value = artifacts.read_json(work.calibration)
    try:
        record = calibration.CalibrationRecord.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{work.calibration} must hold a calibration as `tfplugin train` "
            f"writes it. Received: {where}: {first['msg']}. {_REDO}"
        ) from error
    found = (record.dataset_fingerprint, record.model_fingerprint)
    wanted = (work.dataset.fingerprint(), calibration.model_fingerprint(model))
    if found != wanted:
        raise InputError(
            "A calibration must stay with the dataset and the model it was "
            f"fitted to, {' and '.join(wanted)}. Received: {work.calibration}, "
            f"of {' and '.join(found)}. {_REDO}"
        )
    return record


def calibrated_model(
    model: keras.Model,
    record: calibration.CalibrationRecord,
    base_rates: Mapping[str, float],
) -> keras.Model:
    """A model with calibrated logits, compiled with metrics to evaluate it.

    Args:
        model: From features to a dict of logits; its weights are shared.
        record: Its calibration.
        base_rates: Objective to the rate that its normalised entropy is over.
    """
    layer = calibration.CalibratedLogits(record.curves())
    calibrated = keras.Model(model.input, layer(model.output))
    calibrated.compile(
        loss={
            name: keras.losses.BinaryCrossentropy(from_logits=True)
            for name in base_rates
        },
        weighted_metrics={
            name: metrics.objective_metrics(rate)
            for name, rate in base_rates.items()
        },
        jit_compile=False,
    )
    return calibrated


def describe(record: calibration.CalibrationRecord) -> dict[str, Any]:
    """What `history.json` says of a calibration: all but its curves."""
    return {
        "method": record.method,
        "split": record.split,
        "sampling_rate": record.sampling_rate,
        "objectives": {
            name: one.model_dump(exclude={"curve"})
            for name, one in record.objectives.items()
        },
    }
