"""What `tfplugin serve` says on standard error."""

import json
import os

import pytest
import tensorflow as tf

from tests.cli import shop
from tests.serving import server_process

_PORTS = ("--rest-port", 0, "--grpc-port", 0)


class Double(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    def __call__(self, x):
        return {"y": 2.0 * x}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_absent_folder_is_one_line(tmp_path, log_format):
    base = tmp_path / "absent"
    ended = shop.run(
        *("serve", "--model-base-path", base, "--model-name", "m", *_PORTS),
        *("--log-format", log_format),
    )
    shop.check_refused(ended, str(base), "the folder does not exist")


def test_warnings_of_the_start_come_once_it_runs(tmp_path):
    base = tmp_path / "base"
    model = Double()
    tf.saved_model.save(model, str(base / "1"), model.__call__)
    os.mkdir(base / "2")
    options = ("--log-format", "json", "--reload-root", "gs://bucket/models")
    with server_process.serving(base, tmp_path, *options) as server:
        lines = [json.loads(line) for line in server.log.splitlines()]
    warnings = [line for line in lines if line["severity"] == "WARNING"]
    assert len(warnings) == 1
    assert f"{base}/2 is not served" in warnings[0]["message"]
    assert lines.index(warnings[0]) > [
        line["message"].startswith("Serving model") for line in lines
    ].index(True)
