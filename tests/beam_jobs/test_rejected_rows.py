"""Refused rows in files: spooled, merged, in order."""

import json
import subprocess
import sys

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import pipelines
from beam_jobs.batches import Rejected
from beam_jobs.reading.log_files import LogFile
from beam_jobs.writing import rejected_rows
from tfplugin import artifacts

FILES = (LogFile(0, "a.csv", 1), LogFile(1, 'ö "b".csv', 1))
ROW = st.builds(
    Rejected,
    st.integers(0, 1),
    st.integers(0, 2**63 - 1) | st.integers(0, 3),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=4),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=4),
)


@given(st.lists(st.lists(ROW, max_size=6), min_size=1, max_size=6))
def test_rows_are_in_order_whatever_the_bundles(tmp_path_factory, bundles):
    path = tmp_path_factory.mktemp("rejected")
    runs = {}
    for bundle in bundles:
        spool = rejected_rows.Spool(str(path))
        spool.start_bundle()
        spool.process(bundle)
        for value in spool.finish_bundle():
            file, run = value.value
            runs.setdefault(file, []).append(run)
    folder = artifacts.DatasetFolder(path / "dataset")
    write = rejected_rows._WriteFile(str(folder.rejected), FILES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rejected_rows, "_FAN_IN", 2)
        found = [s for item in runs.items() for s in write.process(item)]
    rows = [row for bundle in bundles for row in bundle]
    assert sum(part.rows for part in found) == len(rows)
    for part in found:
        wanted = [row for row in rows if row.file == part.file]
        name = f"part-{part.file:05d}-of-00002.jsonl"
        with (folder.rejected / name).open(encoding="utf-8") as stream:
            lines = [json.loads(line) for line in stream]
        assert [line["position"] for line in lines] == sorted(
            row.position for row in wanted
        )
        assert part.rows == len(wanted)
        assert {line["file"] for line in lines} == {FILES[part.file].path}
        got = [
            Rejected(part.file, line["position"], line["reason"], line["row"])
            for line in lines
        ]
        assert sorted(got) == sorted(wanted) and got[0] == part.first


def test_a_bundle_that_is_larger_than_its_buffer(tmp_path, monkeypatch):
    monkeypatch.setattr(rejected_rows, "_BUFFER_BYTES", 100)
    folder = artifacts.DatasetFolder(tmp_path / "dataset")
    rows = [Rejected(0, 99 - i, "why", "x" * 20) for i in range(100)]
    with pipelines.pipeline(()) as pipeline:
        (
            pipeline
            | beam.Create([rows[:70], rows[70:]])
            | beam.ParDo(rejected_rows.Spool(str(tmp_path)))
            | rejected_rows.WriteRejected(str(folder.rejected), FILES)
            | pipelines.named("rejected")
            | pipelines.CollectResults(str(tmp_path / "results"))
        )
    (found,) = pipelines.read_results(str(tmp_path / "results"))["rejected"]
    assert found == (0, 100, rows[-1])
    text = next(folder.rejected.iterdir()).read_text("utf-8")
    positions = [json.loads(line)["position"] for line in text.splitlines()]
    assert positions == list(range(100))
    assert len(list(tmp_path.glob("*.rejected"))) > 10


MEMORY = """
import pathlib, sys, tracemalloc
from beam_jobs import preprocess
from tfplugin import artifacts, config
path = pathlib.Path(sys.argv[1])
with (path / "a.csv").open("w") as log:
    log.write("item,click\\n")
    log.writelines(
        f"{i}{'z' * 600 * (i % 2)},{i % 4 // 2}\\n" for i in range(60_000)
    )
experiment = config.ExperimentConfig.model_validate({
    "name": "lab",
    "source": {"format": "csv", "files": str(path / "a.csv"),
               "max_rejected": 30_000},
    "features": {"item": {"type": "id", "dtype": "int64"}},
    "labels": ["click"],
    "split": {"by": "hash", "columns": ["item"]},
    "dataset": {"num_shards": 2},
})
folder = artifacts.DatasetFolder(path / "dataset")
from beam_jobs.reading import text_files
from beam_jobs.writing import rejected_rows
text_files.BLOCK_BYTES = 1 << 20
rejected_rows._BUFFER_BYTES = 1 << 20
tracemalloc.start()
assert preprocess.run(experiment, folder).rows_rejected == 30_000
print(tracemalloc.get_traced_memory()[1])
"""


def test_refused_rows_do_not_pile_up_in_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    # They are 18 MB of text, which sorting in memory held three times.
    assert int(done.stdout) < 18 << 20
