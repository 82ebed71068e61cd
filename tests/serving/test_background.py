import os
import sys
import threading
import time

import pytest

from serving import background


@pytest.mark.skipif(
    sys.platform != "linux", reason="threads have priorities on Linux alone"
)
def test_what_is_run_in_the_background_stands_back():
    def priority():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    with background.Background() as behind:
        assert behind.run(priority) == min(before + 10, 19)
        assert behind.run(threading.current_thread) is not (
            threading.current_thread()
        )
    assert background.Foreground().run(priority) == before
    assert priority() == before


@pytest.mark.parametrize(
    "ground", [background.Foreground(), background.Background()]
)
def test_errors_come_through(ground):
    def fail():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        ground.run(fail)


def test_only_the_background_gives_way():
    started = time.monotonic()
    background.Background().give_way(0.05)
    assert time.monotonic() - started >= 0.05
    # An hour would be noticed.
    background.Foreground().give_way(3600.0)
