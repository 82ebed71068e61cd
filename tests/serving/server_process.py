"""`tfplugin serve` in a process of its own."""

import contextlib
import pathlib
import re
import subprocess
import sys


class ServerProcess:
    """A server that crashes, leaks and logs by itself."""

    def __init__(self, process, log):
        self._process = process
        self._log = log
        said = ""
        while "Stop with" not in said:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(log.read_text())
            said += line
        self.rest_port = int(re.search(r"http://[^/]*:(\d+)/", said)[1])
        self.grpc_port = int(re.search(r"gRPC\s+\S*:(\d+) ", said)[1])

    @property
    def is_running(self):
        return self._process.poll() is None

    @property
    def log(self):
        return self._log.read_text()

    def send(self, number):
        self._process.send_signal(number)

    def wait(self):
        """Its exit status, once it has ended."""
        return self._process.wait(60)

    def memory_bytes(self):
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


@contextlib.contextmanager
def serving(base_path, folder, *options):
    """Serves a folder of versions as `model`, until left."""
    log = folder / "log.txt"
    words = [
        *(sys.executable, "-m", "tfplugin", "serve", "--model-name", "model"),
        *("--model-base-path", str(base_path)),
        *("--rest-port", "0", "--grpc-port", "0", *options),
    ]
    with log.open("w") as error:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=error, text=True
        )
    with process:
        try:
            yield ServerProcess(process, log)
        finally:
            process.terminate()
