"""Odd logs and folders that pass, run in one process without TensorFlow."""

import gzip
import json
import os

import pyarrow.parquet as pq
import pytest

from tests.cli import shop

BIG, NEGATIVE = 2**63 - 1, -17


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("accepted")


@pytest.fixture(scope="module")
def ended(base):
    """Name to how the command ended; see the tests for what each is."""
    config = shop.write(base)
    text = (base / "log.csv").read_text("utf-8")
    odd = [
        f"{BIG},Ğ→東京,1.5,1600000000,1,0,1",
        f"{NEGATIVE},,1.5,1600000001,0,1,1",
        ",Ğ→東京,,1600000002,0,,1",
    ]
    (base / "odd.csv").write_text(
        text + "\n".join([*odd, "7,Bern", "8,Bern,x,1,0,0,1"]) + "\n", "utf-8"
    )
    (base / "log.csv.gz").write_bytes(gzip.compress(text.encode()))

    def line(work, *words):
        return [
            "preprocess",
            "--config",
            str(config),
            "--workdir",
            work,
            *words,
        ]

    def override(name):
        return "--set", f"source.files={base / name}"

    relative = os.path.relpath(base / "relative")
    lines = {
        "odd": line(
            str(base / "odd"),
            *override("odd.csv"),
            "--set",
            "source.max_rejected=2",
            "--set",
            "training.epochs=9",
            "--",
            "--job_name=nightly",
        ),
        "spaces": line(str(base / "ä b"), *override("log.csv.gz")),
        "relative": line(relative, "--", "--runner=FnApiRunner"),
        "refused": line(relative, "--overwrite", *override("no.csv")),
        "too many": line(
            str(base / "too many"),
            *override("odd.csv"),
            "--set=source.max_rejected=1",
        ),
        "corrected": line(str(base / "too many")),
        "overwritten": line(str(base / "odd"), "--overwrite"),
        "report": ["report", "--workdir", str(base / "odd")],
    }
    # What the later commands change is read in between.
    first, later = list(lines)[:3], list(lines)[3:]
    results = _run({name: lines[name] for name in first})
    results["odd files"] = _files(base / "odd")
    results["relative files"] = _files(base / "relative")
    return results | _run({name: lines[name] for name in later})


def _run(lines):
    ended = shop.run_in_one_process(list(lines.values()))
    return dict(zip(lines, ended, strict=True))


def _files(work):
    return {
        path.relative_to(work).as_posix(): path.read_bytes()
        for path in work.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "name",
    ["odd", "spaces", "relative", "corrected", "overwritten", "report"],
)
def test_passes(ended, name):
    assert ended[name].status == 0
    assert ended[name].err == ""
    assert ended[name].loaded == []


def test_rows_are_told_as_a_table(ended):
    out = ended["odd"].out
    words = [line.split() for line in out.splitlines()]
    assert ["read", "305"] in words
    assert ["rejected", "2"] in words
    assert "Label (training rows)" in out
    assert "Next: tfplugin train --workdir" in out


def test_the_next_command_may_be_pasted(ended, base):
    out = ended["spaces"].out
    assert f"--workdir '{base / 'ä b'}'" in out
    assert f"--set source.files={base / 'log.csv.gz'}" in out


def test_overrides_land_in_the_configuration(ended):
    assert b"epochs: 9" in ended["odd files"]["config.yaml"]


def test_rejected_rows_are_written_with_their_reason(ended, base):
    rejected = [
        json.loads(line)
        for name, content in ended["odd files"].items()
        if name.startswith("dataset/rejected/")
        for line in content.decode().splitlines()
    ]
    assert len(rejected) == 2
    for row in rejected:
        assert row["file"] == str(base / "odd.csv")
    text = (base / "odd.csv").read_bytes()
    assert [text[r["position"] :][:6] for r in rejected] == [
        b"7,Bern",
        b"8,Bern",
    ]
    assert "7 columns" in rejected[0]["reason"]
    assert "price" in rejected[1]["reason"]


def test_odd_ids_are_counted_and_missing_ones_apart(ended, tmp_path):
    counts = {}
    for table in ("user", "city"):
        counts[table] = {}
        for name, content in ended["odd files"].items():
            if name.startswith(f"dataset/id_frequencies/{table}/"):
                (tmp_path / "part").write_bytes(content)
                found = pq.read_table(tmp_path / "part").to_pydict()
                counts[table] |= dict(
                    zip(found["id"], found["count"], strict=True)
                )
    assert counts["user"][BIG] == counts["user"][NEGATIVE] == 1
    assert counts["city"]["Ğ→東京"] == 2
    assert None not in counts["user"] and "" not in counts["city"]
    statistics = json.loads(ended["odd files"]["dataset/statistics.json"])
    assert statistics["tables"]["user"]["missing"] == 1
    assert statistics["rows_rejected"] == 2


def test_a_refused_log_leaves_the_earlier_dataset(ended, base):
    shop.check_refused(ended["refused"], "no.csv")
    after = _files(base / "relative")
    after.pop(".lock")
    before = dict(ended["relative files"])
    before.pop(".lock")
    assert after == before


def test_too_many_rejected_rows_are_written_before_they_are_refused(ended):
    shop.check_refused(ended["too many"], "odd.csv", "max_rejected", "2")
    words = [line.split() for line in ended["corrected"].out.splitlines()]
    assert ["rejected", "0"] in words


def test_overwriting_leaves_nothing_of_the_earlier_run(ended, base):
    assert not any((base / "odd/dataset").glob("rejected/*"))
    text = (base / "odd/dataset/statistics.json").read_text()
    assert json.loads(text)["rows_read"] == 300
