"""The words of a command line, before typer reads them."""

import contextlib
import io
from collections.abc import Sequence

from tfplugin.errors import InputError

_REPEATABLE = ("--set", "--sample")


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts a command's own words from those behind `--`, which are Beam's.

    Args:
        words: The command line.

    Returns:
        The command's words, and Beam's.

    Raises:
        InputError: An option is given twice, of which typer would take the
            last without a word, or the command takes no Beam options.

    Example:
    >>> split(["preprocess", "--workdir", "W", "--", "--job_name=x"])
    (['preprocess', '--workdir', 'W'], ['--job_name=x'])
    """
    own, beam = list(words), []
    if "--" in own:
        cut = own.index("--")
        own, beam = own[:cut], own[cut + 1 :]
    seen = set()
    for word in own:
        option = word.partition("=")[0]
        if option in seen and option not in _REPEATABLE:
            raise InputError(
                "An option must be given once; only --set and --sample may "
                f"be repeated. Received: {option} twice."
            )
        if option.startswith("--"):
            seen.add(option)
    if beam and own[:1] != ["preprocess"]:
        raise InputError(
            "Only preprocess takes Beam options after `--`. Received: "
            f"{' '.join(beam)}."
        )
    return own, beam


def check_beam_options(arguments: Sequence[str]) -> None:
    """Refuses what Beam cannot read, before a pipeline is built.

    Args:
        arguments: Beam's options.

    Raises:
        InputError: A known option has a wrong value, or there is no such
            runner. Options that Beam does not know may be a runner's own.

    Example:
    >>> check_beam_options(["--job_name=nightly"])
    """
    from apache_beam import runners
    from apache_beam.options import pipeline_options

    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            options = pipeline_options.PipelineOptions(list(arguments))
            standard = options.view_as(pipeline_options.StandardOptions)
            options.get_all_options()
        except SystemExit as error:
            # Beam's parser prints pages of usage; its last line is the cause.
            reason = said.getvalue().strip().splitlines()[-1]
            raise InputError(
                "Options after `--` must be Beam's. Received: "
                f"{' '.join(arguments)} ({reason.partition('error: ')[2]})."
            ) from error
    if standard.runner is None:
        return
    try:
        runners.create_runner(standard.runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(
            f"--runner must name a Beam runner. Received: {standard.runner} "
            f"({error})."
        ) from error
