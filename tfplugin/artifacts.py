"""Names inside a work folder, and when a stage may write there.

A work folder holds everything one experiment makes; nothing is ever written
outside it. Loads neither TensorFlow nor Beam.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import google_crc32c

from tfplugin import schema
from tfplugin.errors import InputError

_CHUNK_BYTES = 1 << 20
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class DatasetFolder:
    """`WORK/dataset`: what preprocessing writes and everything else reads.

    Args:
        path: The folder.
    """

    path: pathlib.Path

    @property
    def schema_json(self) -> pathlib.Path:
        """`schema.json`."""
        return self.path / "schema.json"

    @property
    def statistics_json(self) -> pathlib.Path:
        """`statistics.json`."""
        return self.path / "statistics.json"

    @property
    def rejected(self) -> pathlib.Path:
        """Folder of refused rows."""
        return self.path / "rejected"

    @property
    def sketches(self) -> pathlib.Path:
        """Folder of the sketches of columns."""
        return self.path / "sketches"

    @property
    def completed(self) -> pathlib.Path:
        """The mark that is written last."""
        return self.path / "COMPLETED"

    def split(self, name: str) -> pathlib.Path:
        """Folder of a split's TFRecords."""
        return self.path / name

    def id_frequencies(self, table: str) -> pathlib.Path:
        """Folder of a table's Parquet files."""
        return self.path / "id_frequencies" / table

    def require_completed(self) -> None:
        """Refuses a dataset that is absent or was not finished.

        Raises:
            InputError: There is no `COMPLETED` in it.
        """
        if not self.completed.is_file():
            state = "is unfinished" if self.path.is_dir() else "does not exist"
            raise InputError(
                "A dataset must end in a file COMPLETED. Received: "
                f"{self.path}, which {state}. Run `tfplugin preprocess`."
            )

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change when the dataset does.

        Raises:
            InputError: There is no `statistics.json`.
        """
        self.require_completed()
        return f"{file_crc32c(self.statistics_json):08x}"

    def read_schema(self) -> schema.Schema:
        """Reads `schema.json`; see `schema.read_record`."""
        return schema.read_record(self.schema_json, schema.Schema)

    def read_statistics(self) -> schema.Statistics:
        """Reads `statistics.json`; see `schema.read_record`."""
        return schema.read_record(self.statistics_json, schema.Statistics)


@dataclasses.dataclass(frozen=True)
class WorkFolder:
    """The folder that one experiment writes into.

    Args:
        path: The folder.

    Example:
    >>> WorkFolder(pathlib.Path("w")).dataset.statistics_json.as_posix()
    'w/dataset/statistics.json'
    """

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """`config.yaml`: the resolved configuration, as it last ran."""
        return self.path / "config.yaml"

    @property
    def dataset(self) -> DatasetFolder:
        """`dataset/`."""
        return DatasetFolder(self.path / "dataset")

    @property
    def checkpoints(self) -> pathlib.Path:
        """`checkpoints/`: one after each epoch."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> pathlib.Path:
        """`logs/`: TensorBoard's event files."""
        return self.path / "logs"

    @property
    def history(self) -> pathlib.Path:
        """`history.json`: metrics by epoch and of the test split."""
        return self.path / "history.json"

    @property
    def evaluation(self) -> pathlib.Path:
        """`evaluation.json`: what `tfplugin evaluate` last measured."""
        return self.path / "evaluation.json"

    @property
    def calibration(self) -> pathlib.Path:
        """`calibration.json`: how the trained model is calibrated."""
        return self.path / "calibration.json"

    @property
    def best_epoch(self) -> pathlib.Path:
        """`best_epoch.json`: which epoch is exported as the best so far."""
        return self.path / "best_epoch.json"

    @property
    def model(self) -> pathlib.Path:
        """`model/`: SavedModels, one folder a version."""
        return self.path / "model"

    @property
    def plan_json(self) -> pathlib.Path:
        """`plan.json`: proposed sizes of tables, and what led to them."""
        return self.path / "plan.json"

    @property
    def plan_yaml(self) -> pathlib.Path:
        """`plan.yaml`: the proposal as part of a configuration."""
        return self.path / "plan.yaml"

    @property
    def recommendation_json(self) -> pathlib.Path:
        """`recommendation.json`: a recipe, and the pilot that led to it."""
        return self.path / "recommendation.json"

    @property
    def recommendation_yaml(self) -> pathlib.Path:
        """`recommendation.yaml`: the recipe as part of a configuration."""
        return self.path / "recommendation.yaml"

    @property
    def plan_page(self) -> pathlib.Path:
        """`report/plan.html`."""
        return self.path / "report" / "plan.html"

    @property
    def drift_json(self) -> pathlib.Path:
        """`drift.json`: how far apart two datasets are."""
        return self.path / "drift.json"

    @property
    def drift_page(self) -> pathlib.Path:
        """`report/drift.html`."""
        return self.path / "report" / "drift.html"

    @property
    def report(self) -> pathlib.Path:
        """`report/index.html`."""
        return self.path / "report" / "index.html"

    def prepare(self) -> None:
        """Creates the folder.

        Raises:
            InputError: It exists, is not empty and is no work folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"A work folder must be a folder. Received: {self.path}, "
                "which is a file. Name another --workdir."
            )
        if not self.config.is_file() and self._holds_other_files():
            raise InputError(
                "A work folder must be new, empty or made by tfplugin. "
                f"Received: {self.path}, which holds other files and no "
                "config.yaml. Name another --workdir."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The work folder cannot be created. Received: {self.path} "
                f"({error.strerror}). Name another --workdir."
            ) from error

    def _holds_other_files(self) -> bool:
        return self.path.is_dir() and any(
            child.name != _LOCK for child in self.path.iterdir()
        )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other commands from writing here at the same time.

        The operating system lifts the lock when the process ends, however it
        ends.

        Raises:
            InputError: Another command holds it, or the folder cannot be
                written to.
        """
        try:
            file = (self.path / _LOCK).open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"The work folder must be writable. Received: {self.path} "
                f"({error.strerror}). Name another --workdir."
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    "One command at a time may write to a work folder. "
                    f"Received: {self.path}, in which another one is running. "
                    "Wait for it, or name another --workdir."
                ) from error
            except OSError as error:
                # Some network file systems have no locks.
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                    raise
            yield

    def require_config(self) -> None:
        """Refuses a folder in which nothing has run.

        Raises:
            InputError: There is no `config.yaml` in it.
        """
        if not self.config.is_file():
            raise InputError(
                f"A work folder must hold a config.yaml. Received: {self.path}."
                f" Run `tfplugin preprocess --config ... --workdir {self.path}`"
                " first."
            )

    def require_trained(self) -> dict[str, Any]:
        """The history of a finished training.

        Raises:
            InputError: Training has not run or was cut off.
        """
        history = read_json(self.history)
        if not history.get("finished"):
            raise InputError(
                f"Training must be finished. Received: {self.history}; "
                f"epochs done: {len(history.get('epochs', []))}. "
                "Run `tfplugin train --resume`."
            )
        return history

    def require_beginning(self) -> None:
        """Refuses a folder without a finished training to begin from."""
        try:
            self.require_config()
            self.require_trained()
        except InputError as error:
            raise InputError(f"--warm-start: {error}") from error

    def refuse_trained(self) -> None:
        """Refuses to redo a finished training; an unfinished one may be.

        Raises:
            InputError: Training has finished here.
        """
        if self.history.is_file() and read_json(self.history).get("finished"):
            refuse_finished(self.history, stage="train", overwrite=False)


def refuse_finished(mark: pathlib.Path, *, stage: str, overwrite: bool) -> None:
    """Refuses to redo a finished stage unless told to.

    Args:
        mark: The file that a finished stage leaves.
        stage: Name of its command.
        overwrite: Whether the user passed --overwrite.

    Raises:
        InputError: The mark is there and `overwrite` is False.
    """
    if mark.exists() and not overwrite:
        other = "--version" if stage == "export" else "--workdir"
        raise InputError(
            f"`{stage}` must not redo what it has finished. Received: {mark}, "
            f"which exists. Pass --overwrite, or name another {other}."
        )


def file_crc32c(path: pathlib.Path) -> int:
    """CRC-32C of a file's bytes.

    Example:
    >>> import tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "digits")
    >>> _ = file.write_bytes(b"123456789")
    >>> f"{file_crc32c(file):08x}"
    'e3069283'
    """
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = google_crc32c.extend(checksum, chunk)
    return checksum


def remove(path: pathlib.Path) -> None:
    """Removes a file or a folder and what is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        InputError: The file is absent or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise ValueError(f"a {kind}, which is no JSON object")
    except FileNotFoundError as error:
        raise InputError(
            f"{path.name} must be there. Received: {path}, which does not "
            "exist. Run the earlier stages first (preprocess, train)."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} must hold JSON. Received: {error}. Redo the stage that "
            "wrote it."
        ) from error
    return value


def write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Writes JSON under a temporary name, then renames it.

    NaN and infinities, which JSON lacks, become null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_without_nan(value), indent=1, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file under a temporary name, then renames it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value
