import pytest
import tensorflow as tf

from tests.support import experiments
from tfplugin import export
from tfplugin import training

SCORES = {
    "ranking": "bid * buy",
    "mixed": "log(click) + 2 * maximum(price, -boost) ** 0.5 - 1 / (1 + buy)",
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A work folder with version 3 exported, and the experiment."""
    config, work = experiments.make(
        tmp_path_factory.mktemp("export"), "training.epochs=1"
    )
    training.train(config, work)
    loaded = training.load(work)
    export.save(
        loaded.model, work.model / "3", loaded.dataset.schema, scores=SCORES
    )
    return work, loaded


@pytest.fixture(scope="session")
def signatures(trained):
    """The signatures of that version, loaded by TensorFlow alone."""
    work, _ = trained
    return tf.saved_model.load(str(work.model / "3")).signatures
