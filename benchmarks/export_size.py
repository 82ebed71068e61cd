"""Exports in fewer bytes: what they save, what they cost, what they take.

    python -m benchmarks.export_size --work WORK --json result.json

WORK is a finished training, of completejourney in the published figures; it is
read only. Its model is exported with tables of each dtype, and all answers on
the test split are compared with the trained model's. Then a model with one
table of 10^7 rows of 16 numbers, in a process of its own for each dtype: the
time, and the peak of resident memory over that before the export, in tables.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from tfplugin import artifacts
from tfplugin import export
from tfplugin import layers
from tfplugin import schema as schema_lib
from tfplugin import training
from tfplugin.export import smaller_tables
from tfplugin.export import table_compression

DTYPES = ("float32", "float16", "bfloat16", "int8")
ROWS, DIM = 10_000_000, 16
BATCH_SIZE = 8192
_Plan = table_compression.TableCompression
PLANS = {dtype: _Plan(dtype) for dtype in DTYPES} | {
    "int8, ids seen twice or more": _Plan("int8", min_count=2),
    "int8, ids seen 5 times or more, a shared row": _Plan(
        "int8", min_count=5, rare_rows="shared"
    ),
}


def trained_model(work: pathlib.Path) -> dict[str, Any]:
    """Size and answers of a trained experiment, by plan."""
    trained = training.load(artifacts.WorkFolder(work))
    found = {}
    for name, how in PLANS.items():
        plan = {"default": how}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "1"
            smaller = smaller_tables.SmallerTables(
                plan,
                table_compression.row_counts(
                    trained.model, plan, trained.dataset.id_frequencies
                ),
                test=trained.dataset.test(BATCH_SIZE),
            )
            export.save(
                trained.model,
                path,
                trained.dataset.schema,
                calibration=trained.calibration,
                compressed=smaller,
            )
            record = json.loads(
                (path / "assets.extra" / "export.json").read_text()
            )
            found[name] = record["size_report"] or {
                "folder_bytes": _bytes(path),
                "table_bytes": sum(
                    table["bytes"] for table in record["tables"].values()
                ),
            }
    return found


def large_table(dtype: str, rows: int) -> dict[str, Any]:
    """Seconds and memory of one export; run in a process of its own."""
    schema = schema_lib.Schema(
        id_features={"item": schema_lib.IdFeature(dtype="int64", table="item")},
        labels=("click",),
    )
    ids = keras.Input((), dtype="int64", name="item")
    vectors = layers.Embedding(
        embedding_dim=DIM,
        id_mapping=layers.HashMapping(rows - 1, name="item_rows"),
        name="vectors",
        seed=1,
    )(ids)
    model = keras.Model(
        {"item": ids}, {"click": keras.layers.Dense(1, name="click")(vectors)}
    )
    smaller = smaller_tables.SmallerTables({"vectors": _Plan(dtype)})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "1"
        before = _resident_bytes()
        peak = _Peak()
        start = time.perf_counter()
        with peak:
            export.save(model, path, schema, compressed=smaller)
        seconds = time.perf_counter() - start
        written = _bytes(path)
        start = time.perf_counter()
        tf.saved_model.load(str(path))
        load_seconds = time.perf_counter() - start
    table = rows * DIM * 4
    return {
        "rows": rows,
        "dim": DIM,
        "table_bytes_before": table,
        "folder_bytes": written,
        "export_seconds": round(seconds, 1),
        "load_seconds": round(load_seconds, 1),
        "peak_tables": round((peak.bytes - before) / table, 2),
    }


class _Peak:
    """The greatest resident memory while in the `with`."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, _resident_bytes())


def _resident_bytes() -> int:
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _bytes(folder: pathlib.Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def in_own_process(dtype: str, rows: int) -> dict[str, Any]:
    """`large_table` in a process without another's memory."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.export_size"),
            *("--dtype", dtype, "--rows", str(rows)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def markdown(found: dict[str, Any]) -> str:
    """Both results as tables."""
    lines = []
    if "trained" in found:
        whole = found["trained"]["float32"]
        lines += [
            "| tables | bytes of tables | ratio | largest change of a "
            "probability | mean | AUC change | calibration change |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for name, report in found["trained"].items():
            ratio = report["table_bytes"] / whole["table_bytes"]
            line = f"| {name} | {report['table_bytes']:,} | {ratio:.3f} "
            changes = report.get("objectives", {}).values()
            if changes:
                line += (
                    f"| {max(c['largest_change'] for c in changes):.5f} "
                    f"| {max(c['mean_change'] for c in changes):.6f} "
                    f"| {_extreme(changes, 'auc_change'):+.6f} "
                    f"| {_extreme(changes, 'calibration_change'):+.6f} |"
                )
            else:
                line += "| | | | |"
            lines.append(line)
        lines.append("")
    lines += [
        f"| {ROWS:,} rows of {DIM} as | folder | export | load | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {dtype} | {each['folder_bytes'] / 1e6:,.0f} MB "
        f"| {each['export_seconds']:.1f} s | {each['load_seconds']:.1f} s "
        f"| {each['peak_tables']:.2f} tables |"
        for dtype, each in found["large"].items()
    ]
    return "\n".join(lines)


def _extreme(changes: Any, key: str) -> float:
    return max((change[key] for change in changes), key=abs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--dtype", choices=DTYPES, help="one large table only")
    arguments = parser.parse_args()
    if arguments.dtype:
        print(json.dumps(large_table(arguments.dtype, arguments.rows)))
        return
    found: dict[str, Any] = {}
    if arguments.work:
        found["trained"] = trained_model(arguments.work)
    found["large"] = {
        dtype: in_own_process(dtype, arguments.rows) for dtype in DTYPES
    }
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    found["versions"] = {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
