"""A training that is killed and resumed ends with the same bits."""

import json
import shutil
import time

import numpy as np
import tensorflow as tf

from tests.end_to_end import job


def test_killed_in_an_epoch_and_resumed(trained, tmp_path):
    config, whole, _ = trained
    cut = tmp_path / "cut"
    shutil.copytree(whole / "dataset", cut / "dataset")
    shutil.copy(whole / "config.yaml", cut)
    words = (
        "train",
        "--config",
        config,
        "--workdir",
        cut,
        "--set",
        f"training.epochs={job.EPOCHS}",
    )
    process = job.start(*words)
    # TensorFlow's list of checkpoints: then the first epoch's is whole.
    while not (cut / "checkpoints/checkpoint").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    history = json.loads((cut / "history.json").read_text())
    assert not history["finished"]
    assert 1 <= len(history["epochs"]) < job.EPOCHS
    said = job.run(*words, "--resume")
    assert f"epoch {job.EPOCHS}/{job.EPOCHS}" in said
    assert f"epoch 1/{job.EPOCHS}" not in said
    _check_same_weights(whole / "checkpoints", cut / "checkpoints")
    histories = [
        json.loads((work / "history.json").read_text()) for work in (whole, cut)
    ]
    for history in histories:
        assert history["test"]["telemetry"].pop("seconds") > 0
    for key in ("test", "monitor", "dataset_fingerprint"):
        assert histories[0][key] == histories[1][key]


def _check_same_weights(one, other):
    readers = [tf.train.load_checkpoint(str(path)) for path in (one, other)]
    names = [sorted(r.get_variable_to_shape_map()) for r in readers]
    assert names[0] == names[1]
    compared = 0
    for name in names[0]:
        if name in ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/" + _VALUE):
            continue
        first, second = (reader.get_tensor(name) for reader in readers)
        np.testing.assert_array_equal(first, second, err_msg=name)
        compared += 1
    assert compared > 10


_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
