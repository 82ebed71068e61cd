"""A dataset folder as tf.data pipelines."""

import copy
import math
import pathlib
from typing import Any

import tensorflow as tf

from tfplugin import artifacts
from tfplugin import schema as schema_lib
from tfplugin.data import id_frequencies
from tfplugin.data import model_columns
from tfplugin.data import packed_batches
from tfplugin.data import parsing
from tfplugin.data import records
from tfplugin.data import sampled_rows
from tfplugin.errors import InputError

#: Examples taken from a shard before the next has its turn.
_BLOCK_LENGTH = 64
#: Rows of packed records that are parsed at a time where none are shuffled.
_WINDOW_ROWS = 16_384
#: The chunk of the log that the dataset was made of.
FIRST_CHUNK = "first"


class Dataset:
    """What `tfplugin preprocess` wrote, opened for training.

    Args:
        folder: The dataset's folder.

    Attributes:
        schema: Its columns, or those that `for_model` left.
        statistics: What preprocessing found, in all its logs.
        chunk: The only chunk whose training rows it has; None for all.

    Raises:
        InputError: The folder is absent or unfinished, or a file of it is
            missing or has another size than when it was written.

    Example:
        dataset = data.open_dataset("W/dataset").for_model(model)
        model.fit(dataset.train(batch_size=4096), epochs=5)
    """

    def __init__(self, folder: artifacts.DatasetFolder) -> None:
        folder.require_completed()
        self.folder = folder
        self.schema = folder.read_schema()
        self.statistics = folder.read_statistics()
        self.chunk: str | None = None
        self._check_sizes()

    def for_model(self, model: Any) -> "Dataset":
        """The dataset with the features and labels that a model names.

        Keras pairs inputs by position when a dict has more of them than the
        model takes, so a model must be fed its own columns only.

        Args:
            model: A Keras model from a dict of features to a dict of logits.

        Raises:
            InputError: The model takes or gives something else; see
                `model_columns.select_for_model`.
        """
        narrowed = copy.copy(self)
        narrowed.schema = model_columns.select_for_model(self.schema, model)
        return narrowed

    @property
    def chunks(self) -> tuple[str, ...]:
        """Names of the logs in it, oldest first: `first`, `added-00001`, ..."""
        added = [addition.name for addition in self.statistics.additions]
        return (FIRST_CHUNK, *added)

    def of_chunk(self, name: str) -> "Dataset":
        """The dataset with the training rows of one of its logs alone.

        Validation and test rows, and everything counted over training rows,
        stay those of all logs.

        Args:
            name: One of `chunks`.

        Raises:
            InputError: There is no such chunk, or it has no training rows.
        """
        if name not in self.chunks:
            raise InputError(
                f"A chunk must be one of {', '.join(self.chunks)}. "
                f"Received: {name}."
            )
        folder = "." if name == FIRST_CHUNK else name
        shards = tuple(
            shard
            for shard in self.statistics.shards["train"]
            if pathlib.PurePosixPath(shard.name).parent.as_posix() == folder
        )
        if not any(shard.rows for shard in shards):
            raise InputError(
                "A chunk that is trained on must have training rows. "
                f"Received: chunk {name} of {self.folder.path}, which has "
                "none. Set training.chunks=together, or split the log "
                "otherwise."
            )
        narrowed = copy.copy(self)
        narrowed.statistics = self.statistics.model_copy(
            update={"shards": {**self.statistics.shards, "train": shards}}
        )
        narrowed.chunk = name
        return narrowed

    def id_frequencies(self, table: str) -> id_frequencies.IdFrequencies:
        """Counts of a table's ids over training rows.

        Raises:
            InputError: There is no such table, or its files are malformed or
                not those that `statistics.json` describes.
        """
        wanted = self.statistics.tables.get(table)
        if wanted is None:
            raise InputError(
                "A table must be one of the dataset's, "
                f"{sorted(self.statistics.tables)}. Received: {table}."
            )
        found = id_frequencies.read(
            self.folder.id_frequencies(table),
            [shard.name for shard in wanted.files],
        )
        sums = (len(found), found.counts.sum().item())
        # Counts that decay are floats, whose sum depends on their order.
        tolerance = 1e-9 if isinstance(sums[1], float) else 0.0
        whole = math.isclose(sums[1], wanted.occurrences, rel_tol=tolerance)
        if sums[0] != wanted.ids or not whole:
            raise InputError(
                f"Id frequencies must be whole: {wanted.ids} ids with "
                f"{wanted.occurrences} occurrences. Received: "
                f"{self.folder.id_frequencies(table)}, with {sums[0]} ids and "
                f"{sums[1]} occurrences. Run `tfplugin preprocess "
                "--overwrite`."
            )
        return found

    def rows(self, split: str) -> int:
        """Number of Examples of a split."""
        return self.statistics.rows(split)

    def num_batches(self, split: str, batch_size: int) -> int:
        """Number of batches an epoch of a split has, the last one partial."""
        return -(-self.rows(split) // batch_size)

    def train(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epochs: range | None = None,
        shuffle_rows: int = 65536,
    ) -> tf.data.Dataset:
        """Batches of the training split in a new order each epoch.

        Files are shuffled, then rows in a buffer; both orders are functions
        of `seed` and the epoch. Packed records are shuffled like files, and
        the rows of as many as fill the buffer are permuted. A dataset that
        was written in the order of time (`dataset.order: time`) is read in
        that order, every epoch.

        Args:
            batch_size: Examples a batch; the last of an epoch has fewer.
            seed: Seed of the order.
            epochs: None for a dataset of one epoch that comes in another
                order each time it is iterated, as `fit(..., epochs=5)`
                does. A range for these epochs one after the other: an epoch
                has the same order whichever range it is read in, so that a
                resumed training sees what an uninterrupted one would; pass
                `steps_per_epoch=num_batches("train", batch_size)` to `fit`.
            shuffle_rows: Size of the buffer.

        Returns:
            A dataset of (features, labels, sample weights); see
            `parsing.parse_training`.
        """
        if epochs is None:
            orders = tf.data.Dataset.random(
                seed, rerandomize_each_iteration=True
            ).take(1)
        else:
            orders = tf.data.Dataset.range(epochs.start, epochs.stop)
        paths = self._paths("train")
        shuffled = self.schema.order != "time"

        def one_epoch(order: tf.Tensor) -> tf.data.Dataset:
            if not shuffled:
                return self._epoch(paths, batch_size)
            seeds = tf.random.stateless_uniform(
                (2,),
                tf.stack([tf.cast(seed, tf.int64), order]),
                minval=None,
                maxval=None,
                dtype=tf.int64,
            )
            return self._shuffled_epoch(paths, batch_size, seeds, shuffle_rows)

        batches = self._parse(orders.flat_map(one_epoch), batch_size, shuffled)
        num_epochs = 1 if epochs is None else len(epochs)
        return batches.apply(
            tf.data.experimental.assert_cardinality(
                num_epochs * self.num_batches("train", batch_size)
            )
        )

    def validation(self, batch_size: int) -> tf.data.Dataset:
        """Batches of the validation split, in the order of its files.

        Where its negatives were sampled, sample weights make the rows stand
        for the whole log; see `sampled_rows.weighted`.
        """
        return self._in_order("validation", batch_size)

    def test(self, batch_size: int) -> tf.data.Dataset:
        """Batches of the test split, as `validation` has them."""
        return self._in_order("test", batch_size)

    def verify_checksums(self) -> None:
        """Compares every file's CRC-32C with the one it was written with.

        Raises:
            InputError: The bytes of a shard, or of a table's frequencies,
                have changed.
        """
        for path, shard in self._files():
            if artifacts.file_crc32c(path) != shard.crc32c:
                raise InputError(
                    "A dataset's file must hold the bytes it was written with. "
                    f"Received: {path}, whose checksum differs. "
                    "Run `tfplugin preprocess --overwrite`."
                )

    def _in_order(self, split: str, batch_size: int) -> tf.data.Dataset:
        epoch = self._epoch(self._paths(split), batch_size)
        batches = sampled_rows.weighted(
            self._parse(epoch, batch_size, shuffle=False), self.schema, split
        )
        return batches.apply(
            tf.data.experimental.assert_cardinality(
                self.num_batches(split, batch_size)
            )
        )

    def _epoch(self, paths: list[str], batch_size: int) -> tf.data.Dataset:
        """What `_parse` takes, in the order of the files."""
        read = self._read(tf.data.Dataset.from_tensor_slices(paths))
        size = self.schema.rows_per_record
        if size is None:
            return read.batch(batch_size)
        num_records = -(-max(batch_size, _WINDOW_ROWS) // size)
        return packed_batches.windows(
            read, num_records, tf.zeros([2], tf.int64)
        )

    def _shuffled_epoch(
        self,
        paths: list[str],
        batch_size: int,
        seeds: tf.Tensor,
        shuffle_rows: int,
    ) -> tf.data.Dataset:
        """What `_parse` takes, in an order that follows from `seeds`."""
        files = tf.random.experimental.stateless_shuffle(paths, seeds)
        read = self._read(tf.data.Dataset.from_tensor_slices(files))
        size = self.schema.rows_per_record
        if size is None:
            return records.shuffle(read, shuffle_rows, seeds).batch(batch_size)
        num_records = -(-max(batch_size, shuffle_rows) // size)
        read = records.shuffle(read, num_records, seeds)
        return packed_batches.windows(read, num_records, seeds)

    def _read(self, files: tf.data.Dataset) -> tf.data.Dataset:
        is_packed = self.schema.rows_per_record is not None
        return records.read(
            files,
            in_order=self.schema.order == "time",
            block_length=1 if is_packed else _BLOCK_LENGTH,
        )

    def _parse(
        self, read: tf.data.Dataset, batch_size: int, shuffle: bool
    ) -> tf.data.Dataset:
        """Batches of Examples, or windows of packed records, as `fit` takes."""
        if self.schema.rows_per_record is not None:
            return packed_batches.batches(
                read, self.schema, batch_size, shuffle=shuffle
            ).prefetch(tf.data.AUTOTUNE)

        def parse(serialized: tf.Tensor) -> tuple[Any, ...]:
            return parsing.parse_training(serialized, self.schema)

        return read.map(
            parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        ).prefetch(tf.data.AUTOTUNE)

    def _files(self) -> list[tuple[pathlib.Path, schema_lib.Shard]]:
        folders = {
            self.folder.split(split): self.statistics.shards[split]
            for split in schema_lib.SPLITS
        }
        for name, table in self.statistics.tables.items():
            folders[self.folder.id_frequencies(name)] = table.files
        return [
            (folder / shard.name, shard)
            for folder, shards in folders.items()
            for shard in shards
        ]

    def _paths(self, split: str) -> list[str]:
        folder = self.folder.split(split)
        return [
            str(folder / shard.name) for shard in self.statistics.shards[split]
        ]

    def _check_sizes(self) -> None:
        for path, shard in self._files():
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                found = "which is absent" if size is None else f"{size} bytes"
                raise InputError(
                    f"This file must have its {shard.bytes} bytes. Received: "
                    f"{path}, {found}. Run `tfplugin preprocess --overwrite`."
                )


def open_dataset(path: str | pathlib.Path) -> Dataset:
    """Opens a dataset folder; see `Dataset`.

    Args:
        path: `WORK/dataset`.
    """
    return Dataset(artifacts.DatasetFolder(pathlib.Path(path)))
