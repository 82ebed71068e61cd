import shutil

import pytest
import tensorflow as tf

from tests.support import shipped
from tfplugin import artifacts
from tfplugin import training

SCORES = shipped.SCORES


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A work folder with version 3 exported, and the experiment."""
    shared = shipped.work_once(tmp_path_factory)
    path = tmp_path_factory.mktemp("export") / "work"
    shutil.copytree(shared.path, path)
    work = artifacts.WorkFolder(path)
    (work.model / "1").rename(work.model / "3")
    return work, training.load(work)


@pytest.fixture(scope="session")
def signatures(trained):
    """The signatures of that version, loaded by TensorFlow alone."""
    work, _ = trained
    return tf.saved_model.load(str(work.model / "3")).signatures
