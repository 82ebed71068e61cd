"""A warm start on the next chunk of time against training from nothing on it.

    python benchmarks/warm_start.py --folder F --json result.json

A log in order of time is cut in two: the first 60 % of the time span, and the
rest. A model is trained on the first chunk; on the second, whose last tenths
are validation and test, one model begins with the first chunk's rows, by raw
id, and one with nothing. Validation AUC before the first epoch and after it,
over three seeds; the training is the shipped configuration's.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import yaml

from tfplugin import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]
LOGS = {
    "completejourney": ("log.transaction_timestamp", "transaction_timestamp"),
    "funnel": ("event_time", "event_time"),
}
SEEDS = (0, 1, 2)


def tfplugin(*words: str) -> None:
    command = [sys.executable, "-m", "tfplugin", *words]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def cut(name: str, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """A configuration of each chunk, split by time in itself."""
    import duckdb

    loaded = config_lib.load(ROOT / "configs" / f"{name}.yaml")
    column = LOGS[name][0]
    files = list(loaded.source.files)
    plain = column.removeprefix("log.")
    # The moment that 60 % of the rows lie before.
    (moment,) = duckdb.sql(
        f"SELECT quantile_disc({plain}, 0.6) FROM read_parquet({files})"
    ).fetchall()[0]
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    configs = {}
    for chunk, compare in (("first", "<"), ("next", ">=")):
        raw = yaml.safe_load(config_lib.dump(loaded))
        select = raw["source"].get("select") or "SELECT * FROM log"
        raw["source"]["select"] = (
            f"{select.rstrip()} WHERE {column} {compare} TIMESTAMP '{text}'"
        )
        raw["dataset"] = {"format": "packed"}
        raw["training"] |= {"epochs": 1, "telemetry": False}
        configs[chunk] = folder / f"{name}-{chunk}.yaml"
        configs[chunk].write_text(yaml.safe_dump(raw, sort_keys=False))
    return configs


def run(name: str, folder: pathlib.Path) -> dict:
    """Validation AUC of both, by seed."""
    configs = cut(name, folder)
    for chunk, config in configs.items():
        work = folder / f"{name}-{chunk}"
        if not (work / "dataset/COMPLETED").exists():
            tfplugin(
                "preprocess", "--config", str(config), "--workdir", str(work)
            )
    found: dict[str, list] = {"before": [], "warm": [], "nothing": []}
    for seed in SEEDS:
        seeded = f"--set=training.seed={seed}"
        old = trained(folder, name, "first", configs["first"], seeded)
        warm = trained(
            folder,
            name,
            "next",
            configs["next"],
            seeded,
            "--warm-start",
            str(old),
        )
        cold = trained(folder, name, "next", configs["next"], seeded)
        history = json.loads((warm / "history.json").read_text())
        found["before"].append(aucs(history["start"]["validation"]))
        found["warm"].append(aucs(history["epochs"][0]["validation"]))
        other = json.loads((cold / "history.json").read_text())
        found["nothing"].append(aucs(other["epochs"][0]["validation"]))
        found["rows"] = history["warm_start"]["tables"]
    return found


def trained(
    folder: pathlib.Path,
    name: str,
    chunk: str,
    config: pathlib.Path,
    *options: str,
) -> pathlib.Path:
    """A finished training's folder."""
    kind = "warm" if "--warm-start" in options else "cold"
    seed = options[0].rpartition("=")[2]
    work = folder / f"{name}-{chunk}-{kind}-{seed}"
    history = work / "history.json"
    if history.exists() and json.loads(history.read_text())["finished"]:
        return work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "dataset").exists():
        made = folder / f"{name}-{chunk}"
        (work / "dataset").symlink_to(made / "dataset")
        shutil.copy(made / "config.yaml", work)
    tfplugin(
        "train",
        "--config",
        str(config),
        "--workdir",
        str(work),
        "--overwrite",
        *options,
    )
    return work


def aucs(measured: dict) -> dict[str, float]:
    return {k: v["auc"] for k, v in measured["objectives"].items()}


def markdown(results: dict) -> str:
    """Means over seeds."""
    lines = [
        "| log, objective | warm start, before the first epoch | after it | "
        "from nothing, after it |",
        "|---|---:|---:|---:|",
    ]
    for name, found in results.items():
        for objective in found["warm"][0]:
            means = [
                np.mean([one[objective] for one in found[key]])
                for key in ("before", "warm", "nothing")
            ]
            cells = " | ".join(f"{mean:.4f}" for mean in means)
            lines.append(f"| {name} {objective} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("logs", nargs="*", default=list(LOGS))
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    results = {name: run(name, folder) for name in arguments.logs}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results))


if __name__ == "__main__":
    main()
