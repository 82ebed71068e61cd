import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_configuration_page_is_what_the_classes_say():
    program = (
        "import sys; sys.path.insert(0, 'scripts'); import config_reference;"
        "sys.stdout.write(config_reference.render())"
    )
    made = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    written = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert made == written, "Run `python scripts/config_reference.py`."
