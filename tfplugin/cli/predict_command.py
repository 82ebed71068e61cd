"""`tfplugin predict`: rows to answers of a served model."""

import contextlib
import importlib
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import IO
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

import rich.console
import rich.markup
import rich.progress
import typer

from tfplugin.cli import client_options
from tfplugin.cli import display
from tfplugin.cli import prediction_answers
from tfplugin.cli import prediction_rows
from tfplugin.errors import InputError

if TYPE_CHECKING:
    import serving
    from tfplugin.cli import prediction_run

#: Standard output is for answers.
_console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


def predict(
    url: client_options.Url,
    model: client_options.Model,
    rows: Annotated[
        str,
        typer.Option(
            "--input",
            help="File of rows; - reads standard input.",
            metavar="FILE",
        ),
    ] = prediction_rows.STANDARD,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"Of the input: {', '.join(prediction_rows.FORMATS)}; told "
            "by its name if left out.",
            metavar="FORMAT",
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            help="File of answers: .jsonl, .csv or .parquet; - prints them.",
            metavar="FILE",
        ),
    ] = prediction_answers.STANDARD,
    skip_bad_rows: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Go on after a row that is refused, and write such rows "
            "here, each with its fault.",
            metavar="FILE",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Rows in a request.", metavar="ROWS")
    ] = 64,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            help="Requests that are under way at a time.",
            metavar="REQUESTS",
        ),
    ] = 4,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Send no more rows a second than this.",
            min=1e-3,
            metavar="ROWS",
        ),
    ] = None,
    signature: client_options.Signature = None,
    version: client_options.Version = None,
    label: client_options.Label = None,
    timeout: client_options.Timeout = 10.0,
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            help="Further attempts while the server is unavailable.",
            metavar="NUMBER",
            rich_help_panel=client_options.SERVER,
        ),
    ] = 3,
    root_certificates: client_options.RootCertificates = None,
    certificate: client_options.Certificate = None,
    key: client_options.Key = None,
) -> None:
    """Ask a served model for predictions: a row in, an answer out.

    A row that the model refuses ends the command with status 1, unless
    --skip-bad-rows sets such rows aside; their answers are then empty.
    """
    tls = client_options.certificates(url, root_certificates, certificate, key)
    kind = prediction_rows.format_of(rows, kind)
    prediction_answers.format_of(output)
    if signature is None:
        signature = "examples" if kind == "tfrecord" else "serving_default"
    with connected(
        url,
        model,
        tls,
        version=version,
        label=label,
        signature=signature,
        timeout_seconds=timeout,
        retries=retries,
    ) as client:
        found = _signature(client)
        from tfplugin.cli import prediction_run

        batches = prediction_rows.in_batches(
            prediction_rows.read(rows, kind, found), batch_size
        )
        answered = prediction_run.run(client, batches, concurrency, rate)
        counts = _Counts(batch_size)
        with contextlib.ExitStack() as stack:
            bad = stack.enter_context(_bad_rows(skip_bad_rows))
            writer = stack.enter_context(
                prediction_answers.writing(output, found)
            )
            _write(stack, answered, writer, counts, bad, list(found.outputs))
    counts.show()


@contextlib.contextmanager
def connected(
    url: str, model: str, tls: "serving.ClientTls | None", **options: Any
) -> Iterator["serving.Client"]:
    """Makes a client of a command's options.

    Raises:
        InputError: For an address or an option that cannot be.
        typer.Exit: 1, once the message is shown, if the server failed.
    """
    # gRPC logs each attempt to connect; what failed is told at the end.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with display.quiet_import():
        import serving

        if url.startswith("grpc"):
            # What a client of gRPC would load by itself, and TensorFlow.
            importlib.import_module("serving.client_grpc")
    try:
        client = serving.Client(url, model, tls=tls, **options)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    with client:
        try:
            yield client
        except serving.PredictionError as error:
            fail(f"{url}, model {model}: {error}")


def fail(message: str) -> None:
    """Shows one line and ends the command with 1."""
    display.print_refusal(message)
    raise typer.Exit(1)


def _signature(client: "serving.Client") -> "serving.ClientSignature":
    try:
        return client.signature()
    except ValueError as error:
        raise InputError(str(error)) from error


def _write(
    stack: contextlib.ExitStack,
    answered: "Iterator[prediction_run.Answered]",
    writer: prediction_answers.Writer,
    counts: "_Counts",
    bad: IO[str] | None,
    names: list[str],
) -> None:
    nothing: dict[str, Any] = dict.fromkeys(names)
    bar = stack.enter_context(
        rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.completed:,.0f} rows"),
            rich.progress.TimeElapsedColumn(),
            console=_console,
            transient=True,
            disable=not _console.is_terminal,
        )
    )
    task = bar.add_task("rows", total=None)
    try:
        for batch in answered:
            counts.seconds += batch.seconds
            if batch.faults and bad is None:
                first = batch.faults[0]
                before = first.row.number - batch.rows[0].number
                answers = [a or nothing for a in batch.answers[:before]]
                writer.write(answers)
                counts.rows += before
                counts.show()
                fail(
                    f"{first} {counts.rows} rows before it were answered. "
                    "--skip-bad-rows FILE goes on without such rows."
                )
            for fault in batch.faults:
                _note(bad, fault)
            counts.refused += len(batch.faults)
            writer.write([answer or nothing for answer in batch.answers])
            counts.rows += len(batch.rows)
            bar.advance(task, len(batch.rows))
    except Exception:
        # What ends the command says how far it came.
        counts.show()
        raise


def _note(bad: IO[str] | None, fault: "prediction_run.Fault") -> None:
    if bad is not None:
        record = {
            "row": fault.row.number,
            "field": fault.field or None,
            "error": fault.message,
            "input": fault.row.raw,
        }
        # What Parquet holds may be no JSON: dates, bytes.
        bad.write(f"{json.dumps(record, default=str)}\n")
        bad.flush()


@contextlib.contextmanager
def _bad_rows(path: pathlib.Path | None) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(
            "--skip-bad-rows must be a file that can be written. Received: "
            f"{path} ({error.strerror})."
        ) from error
    with file:
        yield file


class _Counts:
    """What was done, for the last line."""

    def __init__(self, batch_size: int) -> None:
        self.rows = 0
        self.refused = 0
        self.seconds: list[float] = []
        self._batch_size = batch_size
        self._started = time.monotonic()
        self._shown = False

    def show(self) -> None:
        """Prints rows, rate and latencies, once."""
        if self._shown or not (self.rows or self.seconds):
            return
        self._shown = True
        spent = time.monotonic() - self._started
        rate = self.rows / spent if spent else 0.0
        line = f"{self.rows:,} rows in {spent:,.2f} s, {rate:,.0f} rows/s"
        if self.refused:
            line += f", {self.refused:,} of them bad"
        if self.seconds:
            import numpy as np

            found = np.percentile(self.seconds, (50, 90, 99, 100)) * 1e3
            line += (
                f"; a request of up to {self._batch_size} rows: "
                f"p50 {found[0]:.1f} ms, p90 {found[1]:.1f}, "
                f"p99 {found[2]:.1f}, max {found[3]:.1f}"
            )
        _console.print(rich.markup.escape(line))
