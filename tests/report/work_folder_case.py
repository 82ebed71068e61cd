"""Work folders as preprocessing and training leave them, in any size."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfplugin import artifacts
from tfplugin import schema


def zipf_counts(num_ids, exponent=1.1, top=40_000):
    """Counts of ids by rank, down to 1 in the tail."""
    ranks = np.arange(1, num_ids + 1, dtype=np.float64)
    return np.maximum(1, top / ranks**exponent).astype(np.int64)


def write_dataset(work, tables, labels, dense=("price",), parts=2):
    """Writes `dataset/`; `tables` is a name to the counts of its ids."""
    folder = work.dataset
    for table, counts in tables.items():
        _write_frequencies(folder.id_frequencies(table), counts, labels, parts)
    schema.write_record(folder.schema_json, _schema(tables, labels, dense))
    schema.write_record(
        folder.statistics_json, _statistics(tables, labels, dense)
    )
    folder.completed.touch()


def _write_frequencies(folder, counts, labels, parts):
    folder.mkdir(parents=True)
    for part in range(parts):
        mine = np.asarray(counts, np.int64)[part::parts]
        columns = {"id": np.arange(len(mine)) * parts + part, "count": mine}
        columns |= {f"label_{name}": mine // 3 for name in labels}
        pq.write_table(
            pa.table(columns),
            folder / f"part-{part:05d}-of-{parts:05d}.parquet",
        )


def _schema(tables, labels, dense):
    features = {
        f"{table}_feature": schema.IdFeature(dtype="int64", table=table)
        for table in tables
    }
    return schema.Schema(
        id_features=features,
        dense_features={name: schema.DenseFeature() for name in dense},
        labels=tuple(labels),
    )


def _statistics(tables, labels, dense):
    rows = {"train": 1_028_514, "validation": 146_930, "test": 293_863}
    return schema.Statistics(
        source_files=(
            schema.SourceFile(path="logs/a.csv", bytes=12_345_678, crc32c=7),
        ),
        rows_read=1_469_321,
        rows_removed_by_select=0,
        rows_added_by_select=0,
        rows_rejected=14,
        time_cut_offs=(1_500_000_000, 1_510_000_000),
        shards={
            split: (
                schema.Shard(name="a", rows=n - 5, bytes=9 * n, crc32c=1),
                schema.Shard(name="b", rows=5, bytes=99, crc32c=2),
            )
            for split, n in rows.items()
        },
        labels={
            name: schema.LabelStatistics(
                observed=1_000_000, positives=15_000 * (index + 1)
            )
            for index, name in enumerate(labels)
        },
        dense={name: dense_statistics() for name in dense},
        tables={
            name: table_statistics(np.asarray(counts))
            for name, counts in tables.items()
        },
    )


def dense_statistics(count=1_000_000):
    """Statistics of a column of the numbers 0 to 100."""
    return schema.DenseStatistics(
        count=count,
        missing=28_514,
        mean=50.123456,
        standard_deviation=29.15,
        log1p_mean=3.6,
        log1p_standard_deviation=0.9,
        minimum=0.0,
        maximum=100.0,
        quantiles=tuple(float(value) for value in range(101)),
    )


def table_statistics(counts):
    """Statistics that belong to these counts."""
    return schema.TableStatistics(
        ids=len(counts),
        occurrences=int(counts.sum()),
        ids_seen_once=int((counts == 1).sum()),
        missing=1234,
        empty_lists=0,
    )


def metrics(auc):
    """Metrics of one objective, in step with its AUC."""
    return {
        "loss": 0.9 - 0.7 * auc,
        "auc": auc,
        "pr_auc": auc / 2,
        "normalized_entropy": 1.5 - auc,
        "calibration": 1.0123456,
    }


def history(tables, labels, epochs=3, overfits=(), finished=True):
    """`history.json` of objectives that peak in epoch 1 or not at all."""
    return {
        "version": 1,
        "name": "grocery",
        "finished": finished,
        "objectives": list(labels),
        "model": _model(tables),
        "steps_per_epoch": 503,
        "batch_size": 2048,
        "epochs": [_epoch(n, labels, overfits) for n in range(1, epochs + 1)],
        "monitor": {
            name: _monitor(name, labels, epochs, overfits) for name in labels
        },
        "test": _pass(labels, 0.8, ()) | {"rows": 293_863}
        if finished
        else None,
    }


def _model(tables):
    sizes = [
        {
            "name": name,
            "features": [f"{name}_feature"],
            "mapping": "vocabulary",
            "rows": len(counts) + 2,
            "special_rows": 2,
            "embedding_dim": 16,
            "bytes": 64 * (len(counts) + 2),
            "optimizer_bytes": 4 * (len(counts) + 2),
        }
        for name, counts in tables.items()
    ]
    return {
        "parameters": 51_234 + sum(16 * size["rows"] for size in sizes),
        "dense_parameters": 51_234,
        "tables": sizes,
    }


def _auc(epoch, index, falls):
    return 0.7 + 0.03 * index + (-0.01 if falls else 0.01) * (epoch - 1)


def _pass(labels, shift, overfits, epoch=1):
    return {
        "loss": 0.4321,
        "objectives": {
            name: metrics(_auc(epoch, index, name in overfits) + shift - 0.8)
            for index, name in enumerate(labels)
        },
    }


def _epoch(number, labels, overfits):
    return {
        "epoch": number,
        "seconds": 75.2,
        "examples_per_second": 13_676.4,
        "train": _pass(labels, 0.8 + 0.02 * number, (), number),
        "validation": _pass(labels, 0.8, overfits, number),
    }


def _monitor(name, labels, epochs, overfits):
    falls = name in overfits
    values = [
        _auc(number, list(labels).index(name), falls)
        for number in range(1, epochs + 1)
    ]
    peak = 1 if falls else epochs
    return {
        "peak_epoch": peak,
        "peak_value": values[peak - 1],
        "overfits_from": 2 if falls and epochs > 1 else None,
        "values": values,
    }


def make(
    path: pathlib.Path,
    *,
    tables=None,
    labels=("discount", "coupon"),
    trained=True,
    **changes,
) -> artifacts.WorkFolder:
    """A whole work folder; `changes` go to `history`."""
    if tables is None:
        tables = {"products": zipf_counts(3000), "stores": zipf_counts(50)}
    work = artifacts.WorkFolder(path)
    write_dataset(work, tables, labels)
    work.config.write_text("name: grocery\nlabels: [discount]\n", "utf-8")
    if trained:
        value = history(tables, labels, **changes)
        value["dataset_fingerprint"] = work.dataset.fingerprint()
        work.history.write_text(json.dumps(value), "utf-8")
    return work
