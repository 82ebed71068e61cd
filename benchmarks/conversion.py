"""Probabilities against the truth, on a generated funnel with sampled rows.

    python benchmarks/conversion.py --folder F --json result.json

Generates a funnel of 4,000,000 impressions, keeps one in ten of the training
rows without a click, trains, calibrates on validation, exports, and asks the
exported model for every raw row of the test period. Rows are sorted by their
prediction into ten equal parts, by objective; the mean prediction of a part is
compared with the mean of the true probabilities, which lie aside. Four times
over: as trained, sampling undone, and with either calibration on top.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import yaml

ROOT = pathlib.Path(__file__).parents[1]
PARTS = 10
#: A part with fewer positives says nothing to within 5 %.
LEAST_POSITIVES = 100
LIMIT = 0.05
TRUTH = {"click": "p_click", "add_to_cart": "p_cart", "checkout": "p_checkout"}
METHODS = ("none", "platt", "isotonic")
BATCH = 8192


def tfplugin(*words: str) -> None:
    command = [sys.executable, "-m", "tfplugin", *words]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def configuration(folder: pathlib.Path, rate: float) -> pathlib.Path:
    """configs/funnel.yaml with this funnel, sampled."""
    config = yaml.safe_load((ROOT / "configs" / "funnel.yaml").read_text())
    config["source"]["files"] = str(
        folder / "funnel/impressions/part-*.parquet"
    )
    config["dataset"] = {
        "format": "packed",
        "negatives": {"labels": ["click"], "rate": rate},
    }
    config["training"] |= {"epochs": 1, "telemetry": False}
    path = folder / "funnel.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def train(folder: pathlib.Path, config: pathlib.Path, method: str) -> None:
    """One training with its export, unless it is there."""
    work = folder / method
    if (work / "model").exists():
        return
    work.mkdir(exist_ok=True)
    if not (work / "dataset").exists():
        (work / "dataset").symlink_to((folder / "data/dataset").resolve())
        shutil.copy(folder / "data/config.yaml", work)
    calibration = f"--set=training.calibration={method}"
    tfplugin(
        "train",
        "--config",
        str(config),
        "--workdir",
        str(work),
        "--overwrite",
        calibration,
    )
    tfplugin("export", "--workdir", str(work))


def test_rows(folder: pathlib.Path) -> tuple[pa.Table, pa.Table]:
    """Raw rows of the test period, and what is true of them."""
    statistics = json.loads(
        (folder / "data/dataset/statistics.json").read_text()
    )
    first = statistics["time_cut_offs"][1]
    rows = pq.read_table(folder / "funnel/impressions")
    truth = pq.read_table(folder / "funnel/truth")
    seconds = rows["event_time"].cast(pa.int64()).to_numpy() // 1000
    late = pa.array(seconds >= first)
    rows, truth = rows.filter(late), truth.filter(late)
    if rows["impression_id"] != truth["impression_id"]:
        raise SystemExit("truth and impressions are not the same rows")
    return rows, truth


def predict(model: pathlib.Path, rows: pa.Table) -> dict[str, np.ndarray]:
    """Probabilities by objective, from the exported signature."""
    loaded = tf.saved_model.load(str(model))
    signature = loaded.signatures["serving_default"]
    _, inputs = signature.structured_input_signature
    parts = []
    for start in range(0, rows.num_rows, BATCH):
        batch = rows.slice(start, BATCH)
        given = {}
        for name, spec in inputs.items():
            if name.endswith("_length"):
                continue
            column = batch[name]
            if name + "_length" in inputs:
                lists = column.to_pylist()
                lengths = [len(one or ()) for one in lists]
                ragged = tf.ragged.constant(
                    [one or [] for one in lists], spec.dtype
                )
                given[name] = ragged.to_tensor()
                given[name + "_length"] = tf.constant(lengths, tf.int64)
            else:
                given[name] = tf.constant(column.to_pylist(), spec.dtype)
        parts.append({k: v.numpy() for k, v in signature(**given).items()})
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def compare(
    p: np.ndarray, truth: np.ndarray, labels: np.ndarray
) -> list[dict[str, float]]:
    """Mean prediction and mean truth of ten equal parts, lowest first."""
    found = []
    for part in np.array_split(np.argsort(p, kind="stable"), PARTS):
        found.append(
            {
                "rows": len(part),
                "positives": int(labels[part].sum()),
                "prediction": float(p[part].mean()),
                "truth": float(truth[part].mean()),
                "ratio": float(p[part].mean() / truth[part].mean()),
            }
        )
    return found


def as_trained(p: np.ndarray, rate: float) -> np.ndarray:
    """What a click's probability was on the sampled rows."""
    return p / (p + rate * (1 - p))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "funnel/funnel.json").exists():
        tfplugin(
            "funnel",
            "--folder",
            str(folder / "funnel"),
            "--rows",
            str(arguments.rows),
        )
    config = configuration(folder, arguments.rate)
    data = folder / "data"
    if not (data / "dataset/COMPLETED").exists():
        tfplugin("preprocess", "--config", str(config), "--workdir", str(data))
    rows, truth = test_rows(folder)
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for method in METHODS:
        train(folder, config, method)
        predicted = predict(folder / method / "model" / "1", rows)
        name = {"none": "sampling undone"}.get(method, f"undone, {method}")
        if method == "none":
            results["as trained"] = {
                "click": compare(
                    as_trained(predicted["click"], arguments.rate),
                    truth["p_click"].to_numpy(),
                    rows["click"].to_numpy(),
                )
            }
        results[name] = {
            objective: compare(
                predicted[objective],
                truth[column].to_numpy(),
                rows[objective].to_numpy(),
            )
            for objective, column in TRUTH.items()
        }
    record = {
        "rows": arguments.rows,
        "rate": arguments.rate,
        "limit": LIMIT,
        "least_positives": LEAST_POSITIVES,
        "results": results,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    print(markdown(record))


def markdown(record: dict) -> str:
    """Largest error of the parts that count, and of all rows."""
    lines = [
        "| probabilities | objective | parts with 100 positives | "
        "largest error of these | all rows |",
        "|---|---|---:|---:|---:|",
    ]
    for name, objectives in record["results"].items():
        for objective, parts in objectives.items():
            counted = [
                part
                for part in parts
                if part["positives"] >= record["least_positives"]
            ]
            worst = max((abs(p["ratio"] - 1) for p in counted), default=None)
            whole = sum(p["prediction"] * p["rows"] for p in parts) / sum(
                p["truth"] * p["rows"] for p in parts
            )
            shown = "" if worst is None else f"{worst:.1%}"
            lines.append(
                f"| {name} | {objective} | {len(counted)} of {PARTS} | "
                f"{shown} | {whole - 1:+.1%} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
