"""One worker of Beam's multi-processing, and what tells that it was lost.

Beam waits without end for a worker that was killed before it connected. So
each worker is started by this module, which leaves a mark in a folder when the
worker ends otherwise than by itself; `pipelines` looks for it.
"""

import os
import pathlib
import shlex
import subprocess
import sys

LOST = "lost"
_POLL_SECONDS = 0.2


def command(folder: pathlib.Path) -> str:
    """The command line of a worker of this process, for a shell.

    Args:
        folder: Of the marks; workers end when it is removed.
    """
    words = (sys.executable, "-m", __name__, str(folder), str(os.getpid()))
    return f"exec {shlex.join(words)}"


def main(folder: str, parent: int) -> int:
    """Runs one worker until it ends, its parent does, or the folder is gone.

    Args:
        folder: Of the marks.
        parent: Number of the process that runs the job.

    Returns:
        The exit status of the worker; 1 if it was killed.
    """
    marks = pathlib.Path(folder)
    worker = subprocess.Popen(
        [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"]
    )
    while True:
        try:
            status = worker.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if os.getppid() == parent and marks.exists():
                continue
            # Nobody will read what it still writes.
            worker.kill()
            worker.wait()
            return 0
        if status and marks.exists():
            (marks / LOST).write_text(str(status), "utf-8")
        return min(abs(status), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
