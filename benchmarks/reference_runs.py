"""Test AUC of the shipped configurations, with and without LogFrequency.

    python benchmarks/reference_runs.py --folder /tmp/reference \
        completejourney taobao_conversion trivago

For each configuration: one preprocessing, then trainings for one and three
epochs at a constant rate, for three with LogFrequency, and for three with
re-initialised tables. Each training reads the test split once, at its end.
Finished trainings in --folder are not repeated. Writes JSON and prints a table.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
RUNS = {
    "constant, 1 epoch": ("epochs=1", "tables.row_rate=constant"),
    "constant, 3 epochs": ("epochs=3", "tables.row_rate=constant"),
    "LogFrequency, 1 epoch": ("epochs=1", "tables.row_rate=log_frequency"),
    "LogFrequency, 3 epochs": ("epochs=3", "tables.row_rate=log_frequency"),
    "reset, 3 epochs": (
        "epochs=3",
        "tables.row_rate=constant",
        "remedies.embedding_reset=true",
    ),
}


def tfplugin(*words: str) -> None:
    command = [sys.executable, "-m", "tfplugin", *words]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def run(config: str, folder: pathlib.Path, seed: int) -> dict[str, dict]:
    """Test metrics by run and objective."""
    path = f"configs/{config}.yaml"
    dataset = folder / config / "dataset_work"
    if not (dataset / "dataset" / "COMPLETED").exists():
        tfplugin("preprocess", "--config", path, "--workdir", str(dataset))
    results = {}
    for name, overrides in RUNS.items():
        work = folder / config / f"{name} seed {seed}".replace(" ", "_")
        history = work / "history.json"
        if (
            not history.exists()
            or not json.loads(history.read_text())["finished"]
        ):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            (work / "dataset").symlink_to((dataset / "dataset").resolve())
            shutil.copy(dataset / "config.yaml", work)
            settings = [f"--set=training.{o}" for o in overrides]
            settings.append(f"--set=training.seed={seed}")
            tfplugin(
                "train", "--config", path, "--workdir", str(work), *settings
            )
        test = json.loads(history.read_text())["test"]
        results[name] = test["objectives"]
        print(
            config,
            name,
            {k: round(v["auc"], 4) for k, v in test["objectives"].items()},
        )
    return results


def markdown(results: dict[str, dict[str, dict]]) -> str:
    """One row an objective, one column a run."""
    lines = [
        "| log, objective | " + " | ".join(RUNS) + " |",
        "|---|" + "---:|" * len(RUNS),
    ]
    for config, runs in results.items():
        for objective in runs["constant, 1 epoch"]:
            cells = [f"{runs[name][objective]['auc']:.4f}" for name in RUNS]
            lines.append(
                f"| {config} {objective} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    results = {
        config: run(config, arguments.folder.resolve(), arguments.seed)
        for config in arguments.configs
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results))


if __name__ == "__main__":
    main()
