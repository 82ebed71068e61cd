"""A change of the public names or their parameters shows as a diff."""

import difflib
import os

from tests.support import public_names
from tests.support import source_imports

GOLDEN = source_imports.CHECKOUT / "tests" / "golden" / "public_api.txt"
REFRESH = "TFPLUGIN_REFRESH_GOLDEN"


def test_public_names_are_the_golden_ones():
    found = public_names.lines()
    if os.environ.get(REFRESH):
        GOLDEN.write_text("\n".join(found) + "\n", "utf-8")
    golden = GOLDEN.read_text("utf-8").splitlines()
    difference = difflib.unified_diff(
        golden, found, "golden", "found", lineterm="", n=0
    )
    assert found == golden, (
        "The public names changed. If that is meant, run "
        f"{REFRESH}=1 pytest {__name__.replace('.', '/')}.py\n"
        + "\n".join(difference)
    )


def test_every_public_name_of_a_room_is_listed_once_and_sorted():
    for room in public_names.rooms():
        names = __import__(room, fromlist=["__all__"]).__all__
        assert names == sorted(set(names)), room
