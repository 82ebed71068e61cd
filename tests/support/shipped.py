"""A model as it is shipped: small, trained, with all that travels with it."""

import fcntl
import os

from tests.support import experiments
from tfplugin import artifacts
from tfplugin import calibration
from tfplugin import export
from tfplugin import training
from tfplugin.export import golden

SCORES = {
    "ranking": "bid * buy",
    "mixed": "log(click) + 2 * maximum(price, -boost) ** 0.5 - 1 / (1 + buy)",
}
ROWS = 40


def ship(path):
    """Trains an experiment and exports its version 1."""
    config, work = experiments.make(path, "training.epochs=1")
    training.train(config, work)
    save(training.load(work), work.model / "1")


def save(loaded, path):
    """Exports one, with the predictions of the experiment's own model."""
    record = loaded.calibration
    curves = record.curves() if record else {}
    requests = golden.draw(
        loaded.dataset,
        loaded.model,
        ROWS,
        calibrate=calibration.CalibratedLogits(curves),
    )
    export.save(
        loaded.model,
        path,
        loaded.dataset.schema,
        calibration=record,
        scores=SCORES,
        golden=requests,
        warm_up=[1, 16],
    )


def work_once(tmp_path_factory):
    """The same of the whole test run, whichever of its processes asks.

    Nobody may change it.
    """
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent
    folder = base / "shipped"
    with (base / "shipped.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").is_file():
            folder.mkdir()
            ship(folder)
            (folder / "made").touch()
    return artifacts.WorkFolder(folder / "work")


def once(tmp_path_factory):
    """The folder of its version."""
    return work_once(tmp_path_factory).model / "1"
