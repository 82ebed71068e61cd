"""Tiny logs, configurations over them, and datasets read back."""

import gzip
import pathlib
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import preprocess
from tfplugin import artifacts
from tfplugin import config

SPLITS = ("train", "validation", "test")


class Lab:
    """A folder with a log and the dataset made of it."""

    def __init__(self, path):
        self.path = path
        self.folder = artifacts.DatasetFolder(path / "dataset")

    def write(self, name, content):
        path = self.path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path, row_group_size=60)
        elif isinstance(content, str):
            path.write_bytes(content.encode("utf-8"))
        else:
            path.write_bytes(content)
        return str(path)

    def config(self, files, **changes):
        """A configuration; `source` and others may be changed."""
        files = [files] if isinstance(files, str) else files
        csv = ".csv" in files[0]
        source = {"format": "csv" if csv else "parquet", "files": files}
        source.update(changes.pop("source", {}))
        raw = {
            "name": "lab",
            "features": {"item": {"type": "id", "dtype": "int64"}},
            "labels": ["click"],
            "split": {"by": "hash", "columns": ["item"]},
            "dataset": {"num_shards": 2},
        }
        raw.update(changes)
        raw = {key: value for key, value in raw.items() if value is not None}
        return config.ExperimentConfig.model_validate({**raw, "source": source})

    def run(self, files, *, arguments=(), **changes):
        return preprocess.run(
            self.config(files, **changes), self.folder, arguments
        )

    def records(self, split, shard=None):
        """Serialized Examples of a split, in order."""
        found = []
        for path in sorted(self.folder.split(split).glob("*.tfrecord.gz")):
            data = gzip.decompress(path.read_bytes())
            if shard is not None and f"part-{shard:05d}" not in path.name:
                continue
            place = 0
            while place < len(data):
                (length,) = struct.unpack_from("<Q", data, place)
                found.append(data[place + 12 : place + 12 + length])
                place += 16 + length
        return found

    def examples(self, split, shard=None):
        """Examples of a split as dicts of lists."""
        # The protocol buffers alone, without the rest of TensorFlow.
        from tensorflow.core.example import example_pb2

        rows = []
        for record in self.records(split, shard):
            example = example_pb2.Example.FromString(record)
            row = {}
            for name, feature in example.features.feature.items():
                kind = feature.WhichOneof("kind")
                if kind is not None:  # a feature without a value is absent
                    row[name] = list(getattr(feature, kind).value)
            rows.append(row)
        return rows

    def all_examples(self):
        return [row for split in SPLITS for row in self.examples(split)]

    def frequencies(self, table):
        folder = self.folder.id_frequencies(table)
        parts = [pq.read_table(path) for path in sorted(folder.iterdir())]
        rows = pa.concat_tables(parts).to_pylist()
        return {row.pop("id"): row for row in rows}

    def rejected(self):
        import json

        return [
            json.loads(line)
            for path in sorted(self.folder.rejected.iterdir())
            for line in path.read_text("utf-8").splitlines()
        ]

    def contents(self):
        """Decoded rows by shard, and the bytes of the other files.

        An Example's bytes differ by the order of its features, and with them
        the sizes and checksums of shards.
        """
        statistics = self.folder.read_statistics()
        found = {
            f"{split}/{shard.name}": (
                shard.rows,
                self.examples(split, int(shard.name[5:10])),
            )
            for split, shards in statistics.shards.items()
            for shard in shards
        }
        for path in sorted(self.folder.path.rglob("*")):
            name = str(path.relative_to(self.folder.path))
            if path.is_file() and name not in (*found, "statistics.json"):
                found[name] = path.read_bytes()
        found["statistics"] = statistics.model_copy(update={"shards": {}})
        return found


@pytest.fixture
def lab(tmp_path: pathlib.Path):
    return Lab(tmp_path)
