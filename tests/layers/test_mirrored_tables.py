import os
import pathlib
import subprocess
import sys
import textwrap

# A process of its own: several strategies in one process break TensorFlow.
SCRIPT = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import numpy as np, tensorflow as tf
    from tfplugin import layers
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    alone = layers.Embedding(50, 2, seed=3)
    alone.build()
    with strategy.scope():
        layer = layers.Embedding(50, 2, seed=3)
        layer.build()

    def copies():
        table = layer.embeddings.value
        return [c.numpy() for c in strategy.experimental_local_results(table)]

    first, second = copies()
    assert np.array_equal(first, alone.embeddings.numpy())
    assert np.array_equal(first, second)
    layer.reset_embeddings(4)
    first, second = copies()
    alone.reset_embeddings(4)
    assert np.array_equal(first, alone.embeddings.numpy())
    assert np.array_equal(first, second)
    print("same rows")
"""


def test_copies_of_a_mirrored_table_get_the_same_rows(tmp_path):
    script = tmp_path / "mirrored.py"
    script.write_text(textwrap.dedent(SCRIPT))
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(root)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same rows"
