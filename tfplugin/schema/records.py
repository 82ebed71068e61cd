"""JSON records that are read and written whole."""

import pathlib
from typing import TypeVar

import pydantic

from tfplugin.errors import InputError


class Record(pydantic.BaseModel):
    """A frozen JSON record that refuses unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


RecordT = TypeVar("RecordT", bound=Record)


def read_record(path: pathlib.Path, kind: type[RecordT]) -> RecordT:
    """Reads a JSON record.

    Args:
        path: Its file.
        kind: `Schema` or `Statistics`.

    Raises:
        InputError: The file is absent or does not hold such a record.

    Example:
    >>> import tempfile
    >>> from tfplugin.schema import LabelStatistics
    >>> path = pathlib.Path(tempfile.mkdtemp(), "label.json")
    >>> write_record(path, LabelStatistics(observed=4, positives=1))
    >>> read_record(path, LabelStatistics).positive_rate
    0.25
    """
    try:
        return kind.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"A dataset needs its {path.name}. Received: {path}, which does "
            "not exist. Run `tfplugin preprocess` again."
        ) from error
    except (pydantic.ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} must hold a {kind.__name__} as `tfplugin preprocess` "
            f"writes it. Received: {str(error).splitlines()[0]}. "
            "Run `tfplugin preprocess --overwrite`."
        ) from error


def write_record(path: pathlib.Path, record: Record) -> None:
    """Writes a JSON record under a temporary name, then renames it.

    Example: See `read_record`.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
    temporary.replace(path)
