"""The other files, by the official messages; what is filled in; the command."""

import pathlib

import hypothesis
import pytest
import yaml
from google.protobuf import text_format
from hypothesis import strategies as st
from tensorflow_serving.config import model_server_config_pb2

from serving import deployment
from serving.deployment import writing
from tests.deployment import compose_specification
from tfplugin import errors

CONFIGURATIONS = ("models.config", "models_canary.config")
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}", fullmatch=True)


def shipped(name):
    return (writing._HERE / name).read_text("utf-8")


def models(text):
    message = text_format.Parse(
        text, model_server_config_pb2.ModelServerConfig()
    )
    (one,) = message.model_config_list.config
    return one


def compose(text):
    whole = compose_specification.Compose.model_validate(yaml.safe_load(text))
    (service,) = whole.services.values()
    return whole, service


def test_the_newest_version_is_served():
    one = models(shipped("models.config"))
    assert one.name == "example_model"
    assert one.base_path == "/models/example_model"
    assert one.model_platform == "tensorflow"
    assert one.model_version_policy.latest.num_versions == 1


def test_a_canary_has_a_label():
    one = models(shipped("models_canary.config"))
    served = list(one.model_version_policy.specific.versions)
    assert served == [1, 2]
    assert dict(one.version_labels) == {"stable": 1, "canary": 2}


def test_compose_follows_the_specification():
    whole, service = compose(shipped("compose.yaml"))
    assert whole.name == "example-model"
    assert service.image == "tensorflow/serving:2.19.1"
    assert service.read_only
    assert all(volume.read_only for volume in service.volumes)
    assert service.cap_drop == ["ALL"]
    assert service.init
    assert {port.rsplit(":", 1)[1] for port in service.ports} == {
        "8500",
        "8501",
    }


def test_compose_and_kubernetes_give_the_same_flags():
    _, service = compose(shipped("compose.yaml"))
    manifest = yaml.safe_load(shipped("kubernetes/deployment.yaml"))
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    flat = [
        arg.replace("/config/models/", "/config/").replace(
            "/config/server/", "/config/"
        )
        for arg in container["args"]
    ]
    assert service.command == flat
    assert service.entrypoint == container["command"]
    probe = container["readinessProbe"]["exec"]["command"]
    assert service.healthcheck.test == ["CMD", *probe]


@hypothesis.settings(deadline=None, max_examples=15)
@hypothesis.given(
    name=NAMES, cores=st.integers(1, 64), size=st.integers(0, 10**12)
)
def test_whatever_the_model_the_files_are_whole(name, cores, size):
    folder = pathlib.Path('/srv/$mo "del"\n')
    settings = deployment.Settings(name, folder, "r.io/tf:1", cores, size)
    files = writing.render(settings)
    assert not any("example" in text for text in files.values())
    for file in CONFIGURATIONS:
        one = models(files[file])
        assert (one.name, one.base_path) == (name, f"/models/{name}")
    whole, service = compose(files["compose.yaml"])
    versions = service.volumes[0]
    assert versions.source == str(folder).replace("$", "$$")
    assert versions.target == f"/models/{name}"
    assert service.image == "r.io/tf:1"
    assert service.deploy.resources.limits.cpus == str(cores)
    memory = int(service.deploy.resources.limits.memory.removesuffix("m"))
    assert memory << 20 >= 2 * size
    assert (
        f"num_batch_threads {{ value: {cores} }}"
        in files["batching_parameters.txt"]
    )
    manifests = [yaml.safe_load(t) for n, t in files.items() if "netes/" in n]
    for manifest in manifests:
        text = manifest["metadata"]["name"]
        assert len(text) <= 63
        assert text == text.lower()
        assert text[0].isalpha()
        assert text[-1].isalnum()
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert text.startswith(whole.name)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model_name": ""}, "model_name"),
        ({"model_name": "../etc"}, "model_name"),
        ({"model_name": '"\n'}, "model_name"),
        ({"model_name": "größe"}, "model_name"),
        ({"image": "a b"}, "image"),
        ({"cores": 0}, "cores"),
    ],
)
def test_what_cannot_be_is_refused(changed, named):
    given_ = {"model_name": "m", "base_path": pathlib.Path("m"), **changed}
    with pytest.raises(errors.InputError, match=f"`{named}`.*Received"):
        deployment.Settings(**given_)


def test_files_that_people_edited_stay(tmp_path):
    settings = deployment.Settings("m", tmp_path)
    written = deployment.write(tmp_path / "out", settings)
    assert {p.relative_to(tmp_path / "out").as_posix() for p in written} == set(
        writing.render(settings)
    )
    models_config = tmp_path / "out" / "models.config"
    models_config.write_text("# mine", "utf-8")
    with pytest.raises(errors.InputError, match="--overwrite"):
        deployment.write(tmp_path / "out", settings)
    assert models_config.read_text("utf-8") == "# mine"
    deployment.write(tmp_path / "out", settings, overwrite=True)
    assert models(models_config.read_text("utf-8")).name == "m"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="must be writable"):
        deployment.write(
            tmp_path / "file" / "out", deployment.Settings("m", tmp_path)
        )
