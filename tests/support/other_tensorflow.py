"""An environment with the TensorFlow of stock TensorFlow Serving."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.support import source_imports

VERSION = "2.19.1"
REQUIREMENTS = pathlib.Path(__file__).with_name("other_tensorflow.txt")
#: What pip says if it reaches no package index.
_NO_NETWORK = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "ConnectionResetError",
    "ProtocolError",
)


def interpreter():
    """Its Python; made once, by pip, and kept beside the engines."""
    root = pathlib.Path(
        os.environ.get(
            "TFPLUGIN_ENGINES", str(source_imports.CHECKOUT / ".engines")
        )
    )
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"tensorflow-{VERSION}"
    with (root / f"tensorflow-{VERSION}.lock").open("w") as lock:
        # Tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = folder / "requirements.txt"
        if not (
            installed.is_file()
            and installed.read_bytes() == REQUIREMENTS.read_bytes()
        ):
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
            # Last: without it, half of an environment would pass for one.
            shutil.copy(REQUIREMENTS, installed)
    return folder / "bin" / "python"


def _install(folder):
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = subprocess.run(
        [
            folder / "bin" / "python",
            *("-m", "pip", "install", "--quiet", "--no-deps"),
            *("--disable-pip-version-check", "--requirement", REQUIREMENTS),
        ],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    if pip.returncode and any(sign in pip.stderr for sign in _NO_NETWORK):
        pytest.skip("pip reaches no package index for TensorFlow " + VERSION)
    assert pip.returncode == 0, pip.stderr[-4000:]
