import signal

import pytest

from tests.end_to_end import job


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Configuration, work folder, and what preprocess and train printed."""
    folder = tmp_path_factory.mktemp("job")
    config, work = job.write(folder), folder / "W"
    said = {
        "preprocess": job.run(
            "preprocess",
            "--config",
            config,
            "--workdir",
            work,
            "--",
            "--job_name=small",
        )
    }
    said["train"] = job.run(
        "train",
        "--config",
        config,
        "--workdir",
        work,
        "--set",
        f"training.epochs={job.EPOCHS}",
    )
    return config, work, said


@pytest.fixture(scope="session")
def exported(trained):
    """The work folder after all stages, and what each printed."""
    _, work, said = trained
    for stage in ("evaluate", "report", "export"):
        said[stage] = job.run(stage, "--workdir", work)
    return work, said


@pytest.fixture(scope="session")
def server(exported):
    """A running `tfplugin serve`."""
    work, _ = exported
    server = job.serve(work)
    yield server
    server.process.send_signal(signal.SIGINT)
    out, err = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, (out, err)
    levels = {line.split()[2] for line in err.splitlines()}
    assert levels == {"INFO"}, err
