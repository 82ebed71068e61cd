import gc
import logging
import shutil
import threading
import time
import weakref
from concurrent import futures

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2

from serving import model_config
from serving import model_manager
from serving import request_error
from serving.batching_parameters import BatchingParameters
from tests.serving import stamped_models
from tests.serving import test_warm_up_requests
from tfplugin import errors

State = get_model_status_pb2.ModelVersionStatus
LATEST = model_pb2.ModelSpec(name="stamp")
FAST = {"poll_seconds": 0.05}


class Events:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.seen = []

    def on_load(self, name, version, seconds, error):
        self.seen.append(("load", version, bool(error)))

    def on_warm_up(self, name, version, seconds, records):
        self.seen.append(("warm-up", version, records))

    def on_unload(self, name, version):
        self.seen.append(("unload", version))

    def on_batch(self, name, version, signature, rows, padded, seconds):
        self.seen.append(("batch", version, rows))

    def on_request(self, name, version, signature, rows, seconds, code):
        self.seen.append(("request", signature, rows, code))


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "stamp"
    base.mkdir()
    stamped_models.save(base, 1)
    return base


@pytest.fixture
def serve(base):
    """Starts managers, and stops them."""
    managers = []

    def start(config=None, **options):
        if config is None:
            config = model_config.of_one_model("stamp", base)
        manager = model_manager.ModelManager(config, **options)
        manager.start()
        managers.append(manager)
        return manager

    yield start
    for manager in managers:
        manager.stop()


def spec(version=None, label="", name="stamp"):
    spec = model_pb2.ModelSpec(name=name, version_label=label)
    if version is not None:
        spec.version.value = version
    return spec


def states(manager, name="stamp"):
    return {
        status.version: State.State.Name(status.state)
        for status in manager.status(spec(name=name)).model_version_status
    }


def wait_until(condition):
    """Waits for what another thread does; fails after a minute."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("It did not happen.")


def ask(manager, of=LATEST, xs=(1, 2, 3), **options):
    request = stamped_models.rows(xs)
    answer = manager.predict(of, "", request, **options)
    stamped_models.check(request, answer.outputs)
    assert set(answer.outputs["version"]) <= {answer.version}
    return answer.version


def test_answers_and_says_from_where(serve):
    manager = serve()
    answer = manager.predict(LATEST, "", stamped_models.rows([4]), ["x"])
    assert (answer.name, answer.version) == ("stamp", 1)
    assert answer.signature == "serving_default"
    assert list(answer.outputs) == ["x"]
    assert manager.models == ["stamp"]
    assert manager.available() and manager.available(LATEST)
    assert not manager.available(spec(name="absent"))
    with manager.lease(LATEST) as servable:
        assert "serving_default" in servable.signature_defs


@pytest.mark.parametrize("batching", [None, BatchingParameters()])
def test_refusals(serve, batching):
    manager = serve(batching=batching, limits=model_manager.Limits(max_rows=10))
    good = stamped_models.rows([1])
    cases = [
        (spec(name="absent"), "", good, "NOT_FOUND"),
        (spec(name=""), "", good, "INVALID_ARGUMENT"),
        (spec(version=7), "", good, "NOT_FOUND"),
        (spec(version=0), "", good, "NOT_FOUND"),
        (spec(label="canary"), "", good, "INVALID_ARGUMENT"),
        (LATEST, "absent", good, "FAILED_PRECONDITION"),
        (LATEST, "", {}, "INVALID_ARGUMENT"),
        (LATEST, "", stamped_models.rows(range(11)), "INVALID_ARGUMENT"),
        (LATEST, "", stamped_models.rows([-1]), "INVALID_ARGUMENT"),
    ]
    for asked, signature, inputs, code in cases:
        with pytest.raises(request_error.RequestError) as error:
            manager.predict(asked, signature, inputs)
        assert error.value.code.name == code
    with pytest.raises(request_error.RequestError) as error:
        manager.predict(LATEST, "", good, deadline_seconds=0.0)
    assert error.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    for asked in (spec(name="absent"), spec(version=7)):
        with pytest.raises(request_error.RequestError, match="Could not find"):
            manager.status(asked)
    assert ask(manager) == 1


def test_new_version_takes_over_and_the_old_one_dies(serve, base):
    events = Events()
    manager = serve(observers=[events], **FAST)
    with manager.lease(LATEST) as servable:
        dying = weakref.ref(servable)
        stamped_models.save(base, 2)
        wait_until(lambda: ask(manager) == 2)
        # Held by this lease, but open to no one else.
        wait_until(lambda: states(manager)[1] == "UNLOADING")
        stamped_models.check(
            stamped_models.rows([5]),
            servable.run("", stamped_models.rows([5])),
        )
        with pytest.raises(request_error.RequestError):
            ask(manager, spec(1))
    del servable
    wait_until(lambda: states(manager) == {2: "AVAILABLE", 1: "END"})
    wait_until(lambda: gc.collect() is not None and dying() is None)
    loads = [event for event in events.seen if event[0] != "request"]
    assert loads == [("load", 1, False), ("load", 2, False), ("unload", 1)]


def test_going_back_to_a_deleted_versions_forerunner(serve, base):
    stamped_models.save(base, 2)
    manager = serve(**FAST)
    assert ask(manager) == 2
    shutil.move(base / "2", base.parent / "away")
    wait_until(lambda: ask(manager) == 1)
    wait_until(lambda: states(manager) == {1: "AVAILABLE", 2: "END"})
    shutil.move(base.parent / "away", base / "2")
    wait_until(lambda: ask(manager) == 2)


def test_policies_and_labels(serve, base):
    for version in (2, 3):
        stamped_models.save(base, version)
    config = model_config.of_one_model("stamp", base)
    part = config.model_config_list.config[0]
    part.model_version_policy.specific.versions.extend([1, 3, 9])
    part.version_labels["stable"] = 1
    manager = serve(config, poll_seconds=0)
    assert states(manager) == {3: "AVAILABLE", 1: "AVAILABLE"}
    assert ask(manager, spec(label="stable")) == 1
    assert ask(manager) == 3
    part.model_version_policy.latest.num_versions = 2
    part.version_labels["stable"] = 2
    manager.apply(config)
    assert ask(manager, spec(label="stable")) == 2
    wait_until(lambda: states(manager)[1] == "END")
    part.model_version_policy.all.SetInParent()
    manager.apply(config)
    assert set(states(manager).values()) == {"AVAILABLE"}
    del part.version_labels["stable"]
    manager.apply(config)
    with pytest.raises(request_error.RequestError, match="Unrecognized"):
        ask(manager, spec(label="stable"))


def pinned(base, versions, **labels):
    config = model_config.of_one_model("stamp", base)
    part = config.model_config_list.config[0]
    part.model_version_policy.specific.versions.extend(versions)
    part.version_labels.update(labels)
    return config


@pytest.mark.parametrize(
    "wrong",
    [
        # The folder does not have it; the policy does not ask for it.
        ([1, 2, 9], {"stable": 2, "canary": 9}),
        ([2], {"stable": 1, "canary": 2}),
    ],
)
def test_label_without_a_version_changes_nothing(serve, base, wrong):
    stamped_models.save(base, 2)
    manager = serve(pinned(base, [1], stable=1), poll_seconds=0)
    versions, labels = wrong
    with pytest.raises(request_error.RequestError, match="label") as error:
        manager.apply(pinned(base, versions, **labels))
    assert error.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert states(manager) == {1: "AVAILABLE"}
    assert ask(manager, spec(label="stable")) == 1
    with pytest.raises(request_error.RequestError, match="Unrecognized"):
        ask(manager, spec(label="canary"))


def test_label_of_a_version_that_cannot_be_loaded(serve, base):
    stamped_models.save(base, 2)
    manager = serve(pinned(base, [1], stable=1), poll_seconds=0)
    (base / "3").mkdir()
    (base / "3" / "saved_model.pb").write_bytes(b"\xff" * 9)
    wanted = pinned(base, [1, 2, 3], stable=2, canary=3)
    with pytest.raises(request_error.RequestError, match="canary") as error:
        manager.apply(wanted)
    assert error.value.code == grpc.StatusCode.FAILED_PRECONDITION
    # The rest of it is followed, the labels of before stay.
    assert states(manager) == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"}
    assert ask(manager, spec(label="stable")) == 1
    with pytest.raises(request_error.RequestError, match="Unrecognized"):
        ask(manager, spec(label="canary"))
    # Nor is what was refused assigned later.
    shutil.rmtree(base / "3")
    stamped_models.save(base, 3)
    manager.apply(pinned(base, [1, 2, 3], stable=2))
    assert states(manager)[3] == "AVAILABLE"
    assert ask(manager, spec(label="stable")) == 2
    with pytest.raises(request_error.RequestError, match="Unrecognized"):
        ask(manager, spec(label="canary"))


# Closed by the loader's thread, when it comes to it.
GOING = ("UNLOADING", "END")


@pytest.mark.parametrize("broken", [True, False])
def test_a_version_stays_while_a_label_stands_for_it(serve, base, broken):
    stamped_models.save(base, 3)
    manager = serve(pinned(base, [1], stable=1), poll_seconds=0)
    if broken:
        (base / "2").mkdir()
        (base / "2" / "saved_model.pb").write_bytes(b"\xff" * 9)
        with pytest.raises(request_error.RequestError, match="'stable'"):
            manager.apply(pinned(base, [2, 3], stable=2, canary=3))
        assert ask(manager, spec(label="stable")) == 1
    else:
        stamped_models.save(base, 2)
        manager.apply(pinned(base, [2, 3], stable=2, canary=3))
        assert ask(manager, spec(label="stable")) == 2
        assert states(manager)[1] in GOING
    # In both cases it goes once it is not asked for any more.
    manager.apply(pinned(base, [3], stable=3))
    assert states(manager)[1] in GOING
    assert ask(manager, spec(label="stable")) == 3


def test_models_come_and_go_with_the_configuration(serve, base, tmp_path):
    manager = serve(poll_seconds=0)
    config = model_config.of_one_model("stamp", base)
    config.model_config_list.config.add(name="other", base_path=str(base))
    manager.apply(config)
    assert manager.models == ["other", "stamp"]
    assert ask(manager, spec(name="other")) == 1
    del config.model_config_list.config[0]
    manager.apply(config)
    assert manager.models == ["other"]
    with pytest.raises(request_error.RequestError, match="not found"):
        ask(manager)
    # A base path that moves: the other folder's version 1 takes over.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stamped_models.save(str(elsewhere), 4, 1)
    config.model_config_list.config[0].base_path = str(elsewhere)
    manager.apply(config)
    answer = manager.predict(spec(name="other"), "", stamped_models.rows([1]))
    assert answer.outputs["version"].tolist() == [4]


def test_configuration_that_cannot_be_followed(serve, base, tmp_path):
    manager = serve(poll_seconds=0)
    with pytest.raises(errors.InputError, match="without '/'"):
        manager.apply(model_config.of_one_model("../a", base))
    assert ask(manager) == 1
    config = model_config.of_one_model("stamp", base)
    config.model_config_list.config.add(name="b", base_path=str(tmp_path))
    with pytest.raises(request_error.RequestError, match="b: ") as error:
        manager.apply(config)
    assert error.value.code == grpc.StatusCode.UNKNOWN
    assert not manager.available() and manager.available(LATEST)
    assert ask(manager) == 1


def test_start_without_a_version(tmp_path):
    config = model_config.of_one_model("stamp", tmp_path)
    with pytest.raises(errors.InputError, match="no version"):
        model_manager.ModelManager(config).start()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\xff" * 9)
    with pytest.raises(errors.InputError, match=r"damaged.*[^.]\.$"):
        model_manager.ModelManager(config).start()
    with pytest.raises(errors.InputError, match="poll_seconds=-1"):
        model_manager.ModelManager(config, poll_seconds=-1)


def test_bad_versions_leave_the_old_one_serving(serve, base, caplog):
    manager = serve(
        retries=model_manager.LoadRetries(1, 0.05), poll_seconds=0.02
    )
    caplog.set_level(logging.WARNING, "serving")
    (base / "2" / "variables").mkdir(parents=True)
    (base / "3").symlink_to(base / "3")
    stamped_models.save(base, 4)
    wait_until(lambda: ask(manager) == 4)
    # Whole at once, or a look between two files would speak of it.
    shutil.copytree(base / "4", base.parent / "5", copy_function=shutil.copy)
    (base.parent / "5").rename(base / "5")
    # A version that is damaged, and repaired later.
    pb = (base / "5" / "saved_model.pb").read_bytes()
    shutil.copytree(base / "4", base.parent / "6")
    (base.parent / "6" / "saved_model.pb").write_bytes(pb[:900])
    (base.parent / "6").rename(base / "6")
    wait_until(lambda: states(manager).get(6) == "END")
    status = manager.status(spec(6)).model_version_status[0]
    assert "damaged" in status.status.error_message
    assert status.status.error_code != 0
    wait_until(
        lambda: sum("version 6" in r.message for r in caplog.records) == 2
    )
    # Several looks, and not a word more.
    time.sleep(0.2)
    messages = [record.getMessage() for record in caplog.records]
    assert len([m for m in messages if "version 6" in m]) == 2
    assert len([m for m in messages if "no saved_model.pb" in m]) == 1
    assert len([m for m in messages if "cannot be read" in m]) == 1
    assert manager.predict(LATEST, "", stamped_models.rows([1])).version != 6
    (base / "6" / "saved_model.pb").write_bytes(pb)
    wait_until(
        lambda: (
            manager.predict(LATEST, "", stamped_models.rows([1])).version == 6
        )
    )


def test_folder_that_vanishes_leaves_all_as_it_is(serve, base, caplog):
    manager = serve(poll_seconds=0.02)
    base.rename(base.parent / "away")
    wait_until(lambda: "does not exist" in caplog.text)
    assert ask(manager) == 1
    base.mkdir()
    wait_until(lambda: "holds no version" in caplog.text)
    assert ask(manager) == 1
    # Several looks, and not a word more.
    time.sleep(0.2)
    assert caplog.text.count("holds no version") == 1


def test_warm_up_comes_before_traffic_and_may_refuse(serve, base):
    events = Events()
    log = test_warm_up_requests.predict_log(stamped_models.rows([1, 2]))
    path = base.parent / "2"
    shutil.copytree(base / "1", path)
    test_warm_up_requests.write(path, [log] * 3)
    path.rename(base / "2")
    manager = serve(observers=[events], **FAST)
    assert events.seen == [("load", 2, False), ("warm-up", 2, 3)]
    path = base.parent / "3"
    shutil.copytree(base / "1", path)
    test_warm_up_requests.write(path, [log, b"\xff"])
    path.rename(base / "3")
    wait_until(lambda: states(manager).get(3) == "END")
    status = manager.status(spec(3)).model_version_status[0].status
    assert status.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    answer = manager.predict(LATEST, "", stamped_models.rows([1]))
    assert answer.version == 2


def test_too_many_requests(serve):
    manager = serve(
        batching=BatchingParameters(batch_timeout_micros=600_000_000),
        limits=model_manager.Limits(max_requests=2),
    )
    waiting = [
        manager.submit(LATEST, "", stamped_models.rows([i])) for i in range(2)
    ]
    with pytest.raises(request_error.RequestError) as error:
        ask(manager)
    assert error.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    manager.stop()
    assert [w.result(60).outputs["x"][0] for w in waiting] == [0, 1]


def test_cancelled_and_late_requests(serve):
    events = Events()
    manager = serve(
        batching=BatchingParameters(batch_timeout_micros=600_000_000),
        observers=[events],
    )
    cancelled = manager.submit(LATEST, "", stamped_models.rows([1]))
    assert cancelled.cancel()
    with pytest.raises(request_error.RequestError) as error:
        ask(manager, deadline_seconds=0.05)
    assert error.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    manager.stop()
    requests = [event for event in events.seen if event[0] == "request"]
    assert [event[-1] for event in requests] == ["DEADLINE_EXCEEDED"] * 2
    assert not [event for event in events.seen if event[0] == "batch"]


def test_nothing_after_the_stop(serve, base):
    manager = serve(batching=BatchingParameters())
    manager.stop()
    assert not manager.available()
    with pytest.raises(request_error.RequestError):
        ask(manager)
    with pytest.raises(request_error.RequestError) as error:
        manager.apply(model_config.of_one_model("stamp", base))
    assert error.value.code == grpc.StatusCode.UNAVAILABLE
    manager.stop()


@pytest.mark.parametrize(
    "batching",
    [None, BatchingParameters(max_batch_size=16, num_batch_threads=2)],
)
def test_switching_versions_under_load(serve, base, batching):
    manager = serve(batching=batching, poll_seconds=0.02)
    ended = threading.Event()
    seen = set()

    def work(seed):
        generator = np.random.default_rng(seed)
        count = 0
        while not ended.is_set():
            xs = generator.integers(0, 1 << 40, generator.integers(1, 4))
            seen.add(ask(manager, xs=xs))
            count += 1
        return count

    with futures.ThreadPoolExecutor(8) as threads:
        workers = [threads.submit(work, seed) for seed in range(8)]
        for version in range(2, 7):
            stamped_models.save(base, version)
            wait_until(lambda version=version: version in seen)
        ended.set()
        # No request failed, and each answer was its own.
        assert sum(worker.result() for worker in workers) > 100
    wait_until(
        lambda: (
            states(manager)
            == {6: "AVAILABLE"} | {number: "END" for number in range(1, 6)}
        )
    )
