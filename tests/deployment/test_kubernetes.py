"""The manifests, by Kubernetes' own schemas, and as one whole."""

import pathlib

import kubernetes_validate
import pytest
import yaml

from serving import deployment
from serving.deployment import writing

SETTINGS = deployment.Settings(
    "On", pathlib.Path("/srv/on"), cores=2, version_bytes=3 << 30
)
RENDERED = writing.render(SETTINGS)
SHIPPED = {
    path.relative_to(writing._HERE).as_posix(): path.read_text("utf-8")
    for path in writing._HERE.rglob("*.yaml")
}
MANIFESTS = [name for name in SHIPPED if name.startswith("kubernetes/")]
PUBLISHER = "kubernetes/publisher.yaml"


@pytest.fixture(params=["shipped", "rendered"])
def files(request):
    texts = SHIPPED if request.param == "shipped" else RENDERED
    return {
        name: yaml.safe_load(text)
        for name, text in texts.items()
        if name.endswith(".yaml")
    }


def _by_kind(files, kind):
    return [f for f in files.values() if f.get("kind") == kind]


def _pod(files):
    (one,) = _by_kind(files, "Deployment")
    return one["spec"]["template"]


def _container(files):
    (one,) = _pod(files)["spec"]["containers"]
    return one


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.37"])
@pytest.mark.parametrize("name", MANIFESTS)
def test_each_manifest_is_valid(files, name, version):
    assert kubernetes_validate.validate(files[name], version, strict=True)


def test_the_schemas_would_tell():
    broken = yaml.safe_load(SHIPPED["kubernetes/deployment.yaml"])
    broken["spec"]["template"]["spec"]["containers"][0]["image_"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError, match="image_"):
        kubernetes_validate.validate(broken, "1.31", strict=True)


def test_the_kustomization_lists_every_manifest(files):
    whole = files["kustomization.yaml"]
    assert set(whole) == {
        "apiVersion",
        "kind",
        "resources",
        "configMapGenerator",
    }
    assert whole["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
    assert sorted(whole["resources"]) == sorted({*MANIFESTS} - {PUBLISHER})


def test_a_publisher_writes_where_the_pods_read(files):
    pod = files[PUBLISHER]
    (claim,) = _by_kind(files, "PersistentVolumeClaim")
    (volume,) = pod["spec"]["volumes"]
    assert volume["persistentVolumeClaim"] == {
        "claimName": claim["metadata"]["name"]
    }
    labels = pod["metadata"].get("labels", {})
    assert "app.kubernetes.io/name" not in labels
    user = _pod(files)["spec"]["securityContext"]["runAsUser"]
    assert pod["spec"]["securityContext"]["runAsUser"] == user


def test_pods_mount_what_is_made(files):
    made = {
        each["name"]: each
        for each in files["kustomization.yaml"]["configMapGenerator"]
    }
    for each in made.values():
        assert all((writing._HERE / file).is_file() for file in each["files"])
    volumes = {v["name"]: v for v in _pod(files)["spec"]["volumes"]}
    mounts = {
        m["mountPath"]: volumes[m["name"]]
        for m in _container(files)["volumeMounts"]
    }
    assert len(mounts) == len(volumes)
    # The polled file is replaced in place, the others roll the pods.
    polled = made[mounts["/config/models"]["configMap"]["name"]]
    assert polled["files"] == ["models.config"]
    assert polled["options"] == {"disableNameSuffixHash": True}
    rolled = made[mounts["/config/server"]["configMap"]["name"]]
    assert "options" not in rolled
    flags = _flags(_container(files)["args"])
    for flag, folder, each in (
        ("model_config_file", "/config/models", polled),
        ("batching_parameters_file", "/config/server", rolled),
        ("monitoring_config_file", "/config/server", rolled),
    ):
        assert pathlib.Path(flags[flag]).parent.as_posix() == folder
        assert pathlib.Path(flags[flag]).name in each["files"]
    (claim,) = _by_kind(files, "PersistentVolumeClaim")
    for path, volume in mounts.items():
        if path.startswith("/models/"):
            assert volume["persistentVolumeClaim"] == {
                "claimName": claim["metadata"]["name"],
                "readOnly": True,
            }


def _flags(args):
    pairs = [arg.removeprefix("--").split("=", 1) for arg in args]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_one_selector_and_its_ports(files):
    labels = _pod(files)["metadata"]["labels"]
    (one,) = _by_kind(files, "Deployment")
    selectors = [one["spec"]["selector"]["matchLabels"]]
    selectors += [s["spec"]["selector"] for s in _by_kind(files, "Service")]
    for kind, key in (
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        (each,) = _by_kind(files, kind)
        selectors.append(each["spec"][key]["matchLabels"])
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert selector == selectors[0]
    ports = {p["name"]: p["containerPort"] for p in _container(files)["ports"]}
    flags = _flags(_container(files)["args"])
    assert ports == {
        "grpc": int(flags["port"]),
        "rest": int(flags["rest_api_port"]),
    }
    for service in _by_kind(files, "Service"):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    annotations = _pod(files)["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == flags["rest_api_port"]
    path = annotations["prometheus.io/path"]
    assert f'path: "{path}"' in RENDERED["monitoring.config"]


def test_a_pod_is_replaced_only_by_one_that_answers(files):
    (one,) = _by_kind(files, "Deployment")
    assert one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    # The autoscaler's number must not be overwritten.
    assert "replicas" not in one["spec"]
    (scaler,) = _by_kind(files, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert target["name"] == one["metadata"]["name"]
    assert target["apiVersion"] == one["apiVersion"]
    assert scaler["spec"]["minReplicas"] > 1
    container = _container(files)
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = _pod(files)["spec"]["terminationGracePeriodSeconds"]
    timeout = int(_flags(container["args"])["rest_api_timeout_in_ms"]) / 1000
    assert pause + timeout < grace
    # SIGTERM ends the server only if it is not process 1.
    assert _pod(files)["spec"]["shareProcessNamespace"] is True
    (budget,) = _by_kind(files, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


def test_pods_may_do_little(files):
    spec = _pod(files)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["automountServiceAccountToken"] is False
    assert _container(files)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_cores_and_memory_are_of_the_model(files):
    rendered = _container(files)["resources"]["requests"]["cpu"] == "2"
    cores, memory, storage = (
        ("2", "7168Mi", "15Gi") if rendered else ("4", "4096Mi", "10Gi")
    )
    container = _container(files)
    flags = _flags(container["args"])
    assert flags["tensorflow_intra_op_parallelism"] == cores
    assert flags["tensorflow_inter_op_parallelism"] == cores
    assert container["resources"] == {
        "requests": {"cpu": cores, "memory": memory},
        "limits": {"memory": memory},
    }
    (claim,) = _by_kind(files, "PersistentVolumeClaim")
    assert claim["spec"]["resources"]["requests"]["storage"] == storage
    names = {f["metadata"]["name"] for f in files.values() if "metadata" in f}
    own = "model-on" if rendered else "example-model"
    assert names == {own, f"{own}-headless", f"{own}-publisher"}
