"""The requests of the guide, as printed, against our server."""

import contextlib
import io
import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import typer
import yaml

import serving
from tfplugin import config
from tfplugin.cli import commands

ROOT = pathlib.Path(__file__).parents[2]
REQUESTS = (ROOT / "docs" / "guides" / "requests.md").read_text("utf-8")


@pytest.fixture(scope="module")
def server(base_path):
    with serving.ModelServer(base_path, "completejourney", 0, 0) as running:
        yield running


def _blocks(language, server):
    text = REQUESTS.replace("127.0.0.1:8501", f"127.0.0.1:{server.rest_port}")
    text = text.replace("127.0.0.1:8500", f"127.0.0.1:{server.grpc_port}")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def _run(command):
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_python_of_the_guide_runs(server):
    # The limit of a second is for a machine that is not busy with tests.
    code = "\n".join(_blocks("python", server)).replace(
        "timeout=1.0", "timeout=60.0"
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "requests.md", "exec"), {})  # noqa: S102
    lines = said.getvalue().splitlines()
    assert "(2, 4)" in lines
    assert "2" in lines
    assert any("embeddings_product_id" in line for line in lines)


@pytest.mark.skipif(not shutil.which("curl"), reason="There is no curl.")
def test_the_shell_of_the_guide_runs(server):
    blocks = [
        # The first version is not served once there is a second.
        block.replace("/versions/1", "/versions/2")
        for block in _blocks("bash", server)
    ]
    assert len(blocks) == 8
    separator = "=== end ==="
    answers = [
        json.loads(answer)
        for block in blocks
        for answer in _run(
            ["bash", "-ec", block.replace("-s", f"-s -w '{separator}'")]
        ).split(separator)[:-1]
    ]
    assert len(answers) == 10
    kinds = [next(iter(answer)) for answer in answers]
    assert kinds == [
        "predictions",
        "outputs",
        "predictions",
        "predictions",
        "results",
        "results",
        "outputs",
        "model_version_status",
        "model_spec",
        "model_version_status",
    ]
    assert answers[0]["predictions"][0].keys() == {
        "coupon",
        "discount",
        "multi",
    }
    classified = answers[4]["results"][0]
    assert [label for label, _ in classified] == ["0", "1"]
    assert classified[1][1] == pytest.approx(answers[5]["results"][0])
    # The same row, by column and with a formula.
    coupon = answers[0]["predictions"][0]["coupon"]
    assert answers[1]["outputs"]["coupon"][0] == pytest.approx(coupon)
    ranking = answers[2]["predictions"][0]
    assert ranking == pytest.approx(2.5 * coupon, rel=1e-5)


@pytest.mark.parametrize("page", ["serving.md", "requests.md"])
def test_the_settings_of_the_guide_are_ones(page):
    text = (ROOT / "docs" / "guides" / page).read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    settings = config.ExportConfig.model_validate(
        yaml.safe_load(block)["export"]
    )
    assert settings.scores == {"ranking": "bid * coupon"}


def _command_lines():
    """Command lines of tfplugin in the guide, one a line, without comments."""
    text = (ROOT / "docs" / "guides" / "serving.md").read_text("utf-8")
    joined = text.replace("\\\n", " ")
    found = re.findall(r"`(tfplugin [a-z-]+ [^`]*)`", joined)
    found += re.findall(r"^    (tfplugin [^#\n]*)", joined, re.M)
    return sorted({re.sub(r"\s+", " ", line).strip() for line in found})


def test_the_options_of_the_guide_exist():
    commands_ = typer.main.get_command(commands.app).commands
    lines = _command_lines()
    assert len({line.split()[1] for line in lines}) == 8
    for line in lines:
        _, name, *words = shlex.split(line)
        # What is left out in running text stays out; what is said must parse.
        options = {
            option
            for parameter in commands_[name].params
            for option in parameter.opts
        }
        said = {word for word in words if word.startswith("--")}
        assert said <= options | {"--help"}, line
