"""Rows to answers, some requests at a time and in order."""

import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

from tfplugin.cli import prediction_answers
from tfplugin.cli import prediction_rows

if TYPE_CHECKING:
    import serving

# What is wrong with a request, of which one row may be the cause.
_ROWS_FAULT = ("INVALID_ARGUMENT", "OUT_OF_RANGE")


@dataclasses.dataclass(frozen=True)
class Fault:
    """A row that was refused.

    Args:
        row: The row.
        field: The column at fault; empty where it is the row as a whole.
        message: What is wrong with it.
    """

    row: prediction_rows.Row
    field: str
    message: str

    def __str__(self) -> str:
        where = f", column `{self.field}`" if self.field else ""
        return f"Row {self.row.number}{where}: {self.message}"


@dataclasses.dataclass
class Answered:
    """One batch, answered.

    Args:
        rows: Its rows.
        answers: One each; None for a refused one.
        faults: Of refused rows, in order.
        seconds: Of each request it took.
    """

    rows: list[prediction_rows.Row]
    answers: list[dict[str, Any] | None]
    faults: list[Fault]
    seconds: list[float]


def run(
    client: "serving.Client",
    batches: Iterable[list[prediction_rows.Row]],
    concurrency: int,
    rate: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Answered]:
    """Asks for batches, several at a time, and gives answers in order.

    Args:
        client: Whom to ask; its own signature.
        batches: Rows; read no further ahead than twice `concurrency`.
        concurrency: Requests at a time.
        rate: Rows a second that are sent at most; None for no limit.
        sleep: Waits for some seconds.

    Yields:
        Batches in the order of the input.

    Raises:
        PredictionError: If the server does not answer; batches before it
            were given.
    """
    waiting: collections.deque[concurrent.futures.Future[Answered]]
    waiting = collections.deque()
    started, sent = time.monotonic(), 0
    pool = concurrent.futures.ThreadPoolExecutor(concurrency)
    try:
        for batch in batches:
            while len(waiting) >= 2 * concurrency:
                yield waiting.popleft().result()
            if rate is not None:
                due = started + sent / rate
                sleep(max(0.0, due - time.monotonic()))
            waiting.append(pool.submit(ask, client, batch))
            sent += len(batch)
            while waiting and waiting[0].done():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # What was sent is waited for, what was not is not sent any more.
        pool.shutdown(cancel_futures=True)


def ask(client: "serving.Client", rows: list[prediction_rows.Row]) -> Answered:
    """Asks for one batch, and finds the rows that are at fault.

    Args:
        client: Whom to ask.
        rows: At least one.

    Raises:
        PredictionError: If the server does not answer, or refuses for
            another reason than the rows.
    """
    done = Answered(rows, [None] * len(rows), [], [])
    good = []
    for index, row in enumerate(rows):
        if row.fault:
            done.faults.append(Fault(row, *row.fault))
        else:
            good.append(index)
    good = _checked(client, done, good)
    if good:
        _request(client, done, good)
    done.faults.sort(key=lambda fault: fault.row.number)
    return done


def _columns(
    client: "serving.Client", done: Answered, chosen: list[int]
) -> dict[str, list[Any]]:
    values = [done.rows[index].values or {} for index in chosen]
    return {
        name: [one[name] for one in values]
        for name in client.signature().columns
    }


def _checked(
    client: "serving.Client", done: Answered, chosen: list[int]
) -> list[int]:
    """Leaves rows out whose values the signature does not take."""
    from serving import client_columns

    columns = _columns(client, done, chosen)
    try:
        client_columns.encode(columns, client.signature())
    except client_columns.ColumnError:
        found = client_columns.faults(columns, client.signature())
        if not found:
            raise
        for at, error in found.items():
            row = done.rows[chosen[at]]
            done.faults.append(Fault(row, error.field, error.message))
        return [i for at, i in enumerate(chosen) if at not in found]
    return chosen


def _request(
    client: "serving.Client", done: Answered, chosen: list[int]
) -> None:
    from serving import prediction_error

    columns = _columns(client, done, chosen)
    started = time.monotonic()
    try:
        outputs = client.predict(columns)
    except prediction_error.PredictionError as error:
        if error.code not in _ROWS_FAULT:
            raise
        if len(chosen) == 1:
            row = done.rows[chosen[0]]
            done.faults.append(Fault(row, "", str(error)))
            return
        # The server names no row, so halves are asked.
        middle = len(chosen) // 2
        _request(client, done, chosen[:middle])
        _request(client, done, chosen[middle:])
        return
    done.seconds.append(time.monotonic() - started)
    answers = prediction_answers.rows_of(outputs)
    for index, answer in zip(chosen, answers, strict=True):
        done.answers[index] = answer
