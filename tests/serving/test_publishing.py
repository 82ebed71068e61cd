import errno
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import tensorflow as tf

from serving import publishing
from serving import publishing_base
from serving import publishing_files
from serving import publishing_lock
from tfplugin import cli
from tfplugin import errors
from tfplugin.export import staging

# Not `assets.extra`: TensorFlow's file system in memory, which stands for
# remote ones here, lists that as `.extra` in `assets` too.
FILES = {
    "saved_model.pb": b"graph",
    "fingerprint.pb": b"",
    "variables/variables.data-00000-of-00001": bytes(range(256)) * 300,
    "variables/variables.index": b"index",
    "assets/cities": "Zürich\n".encode(),
    "more/export.json": b"{}",
}


def _model(folder, files=FILES):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _tree(path):
    """Every file below a local or remote folder, and what it holds."""
    found = {}
    for parent, _, files in tf.io.gfile.walk(str(path)):
        for name in files:
            file = f"{parent.rstrip('/')}/{name}"
            with tf.io.gfile.GFile(file, "rb") as reader:
                found[file[len(str(path)) + 1 :]] = reader.read()
    return found


def _visible(base):
    """Versions as a server sees them: whatever is named by a number."""
    return sorted(
        int(name.rstrip("/"))
        for name in tf.io.gfile.listdir(str(base))
        if name.rstrip("/").lstrip("-").isdecimal()
    )


@pytest.fixture(params=["local", "ram"])
def base(request, tmp_path):
    path = {
        "local": str(tmp_path / "base"),
        "ram": "ram://" + request.node.name.replace("[", "-").rstrip("]"),
    }[request.param]
    return publishing_base.BasePath(path)


@pytest.fixture
def model(tmp_path):
    return str(_model(tmp_path / "model" / "3"))


def test_a_version_is_copied_byte_by_byte(base, model):
    done = publishing.put(model, base, 3)
    assert _tree(f"{base.path}/3") == FILES
    assert done == publishing.Published(
        f"{base.path}/3", 3, sum(map(len, FILES.values())), 3
    )
    assert _visible(base.path) == [3]


def test_a_published_version_is_never_changed(base, model, tmp_path):
    publishing.put(model, base, 3)
    other = _model(tmp_path / "other", FILES | {"saved_model.pb": b"other"})
    with pytest.raises(errors.InputError, match="version 3 .* exists"):
        publishing.put(str(other), base, 3)
    assert _tree(f"{base.path}/3") == FILES


def test_keep_leaves_the_newest(base, model):
    for version in (2, 3, 10):
        publishing.put(model, base, version)
    tf.io.gfile.makedirs(f"{base.path}/9")  # somebody's, half copied
    tf.io.gfile.makedirs(f"{base.path}/notes")
    with tf.io.gfile.GFile(f"{base.path}/9/half", "w") as file:
        file.write("x")
    done = publishing.put(model, base, 11, keep=2)
    assert done.removed == (2, 3)
    assert _visible(base.path) == [9, 10, 11]
    assert list(base.versions()) == [10, 11]
    with pytest.raises(errors.InputError, match="--keep lets stay.*10 and 11"):
        publishing.put(model, base, 7, keep=2)
    assert publishing.put(model, base, 7).newest == 11


def test_rollback_retires_and_publishing_undoes_it(base, model):
    for version in (3, 4, 5):
        publishing.put(model, base, version)
    done = publishing.rollback(base.path)
    assert (done.version, done.retired) == (4, (5,))
    assert _visible(base.path) == [3, 4]
    assert _tree(f"{base.path}/.retired/5") == FILES
    publishing.put(f"{base.path}/.retired/5", base, 5)
    assert _visible(base.path) == [3, 4, 5]
    assert not base.versions(publishing_base.RETIRED)
    done = publishing.rollback(base.path, to=3)
    assert (done.version, done.retired) == (3, (4, 5))
    assert _visible(base.path) == [3]
    with pytest.raises(
        errors.InputError, match="needs an older version.*3 only"
    ):
        publishing.rollback(base.path)
    assert _visible(base.path) == [3]
    # Again, over what was retired before.
    publishing.put(model, base, 6, keep=1)
    assert list(base.versions(publishing_base.RETIRED)) == [5]


@pytest.mark.parametrize("to", [7, 4, 9])
def test_rollback_to_what_is_not_there_or_not_older(base, model, to):
    for version in (3, 5, 7):
        publishing.put(model, base, version)
    with pytest.raises(
        errors.InputError, match=f"--to {to} .*5 and 7.*one of versions 3 and 5"
    ):
        publishing.rollback(base.path, to=to)
    assert _visible(base.path) == [3, 5, 7]


def test_rollback_of_nothing(tmp_path):
    with pytest.raises(errors.InputError, match="must be a folder"):
        publishing.rollback(tmp_path / "absent")
    with pytest.raises(errors.InputError, match="no finished version"):
        publishing.rollback(tmp_path)


def test_the_mark_of_a_complete_version_comes_last(model):
    assert publishing_files.list_files(model)[-1] == "saved_model.pb"
    assert set(publishing_files.list_files(model)) == set(FILES)


def test_a_full_disk_leaves_the_versions_as_they_were(model, tmp_path):
    base = publishing_base.BasePath(str(tmp_path / "base"))
    publishing.put(model, base, 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(
            errors.InputError, match=r"room for a version.*base: .*"
        ) as refused:
            publishing.put(model, base, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.strerror(errno.EFBIG) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(os.listdir(base.path)) == [".publishing.lock", "2"]
    publishing.put(model, base, 3)
    assert _tree(f"{base.path}/3") == FILES


def test_a_folder_without_permission(model, tmp_path):
    base = tmp_path / "base"
    base.mkdir(mode=0o555)
    is_root = os.geteuid() == 0
    if is_root:  # may write anywhere
        for path in (tmp_path, *tmp_path.parents):
            if path.owner() == "root" and path.stat().st_mode & 0o011 == 0:
                path.chmod(0o711)
        os.seteuid(65534)
    try:
        with pytest.raises(errors.InputError, match="Permission denied"):
            publishing.put(model, publishing_base.BasePath(str(base)), 3)
    finally:
        if is_root:
            os.seteuid(0)
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "dangling", "fifo"])
def test_what_is_no_plain_file_is_refused(model, tmp_path, kind):
    place = pathlib.Path(model) / "assets" / "more"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(
            {"file": "cities", "folder": "..", "dangling": "absent"}[kind]
        )
    base = publishing_base.BasePath(str(tmp_path / "base"))
    with pytest.raises(errors.InputError, match="assets/more, a link or"):
        publishing.put(model, base, 3)
    assert _visible(base.path) == []


def test_two_publishers_exclude_each_other(base, model):
    with base.changing():
        with pytest.raises(errors.InputError, match="One publisher at a time"):
            publishing.put(model, base, 3)
    publishing.put(model, base, 3)


def test_of_many_publishers_of_a_version_one_wins(model, tmp_path):
    base = publishing_base.BasePath(str(tmp_path / "base"))
    outcomes = []

    def run():
        try:
            outcomes.append(publishing.put(model, base, 3).version)
        except errors.InputError as error:
            outcomes.append(str(error).partition(". ")[0])

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(3) == 1
    assert set(outcomes) <= {
        3,
        "A published version is never changed",
        "One publisher at a time may write to a base path",
    }
    assert _tree(f"{base.path}/3") == FILES


def test_a_killed_publisher_leaves_nothing_to_see(tmp_path):
    source = _model(tmp_path / "3")
    with (source / "variables" / "variables.data-00000-of-00001").open(
        "wb"
    ) as file:
        file.truncate(1 << 30)  # sparse, but copied as a gigabyte
    base = publishing_base.BasePath(str(tmp_path / "base"))
    publishing.put(str(_model(tmp_path / "2")), base, 2)
    program = textwrap.dedent(
        """
        import sys
        from serving import publishing_base
        base = publishing_base.BasePath(sys.argv[2])
        with base.changing() as lock:
            base.add(sys.argv[1], 3, lock)
        """
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(source), base.path],
        cwd=pathlib.Path(__file__).parents[2],
    )
    staging = pathlib.Path(base.path, ".publishing-3")
    while not staging.exists():
        assert running.poll() is None
        time.sleep(0.001)
    with pytest.raises(errors.InputError, match="at work"):
        publishing.rollback(base.path)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    assert staging.exists()
    assert _visible(base.path) == [2]
    publishing.put(str(tmp_path / "2"), base, 3)
    assert not staging.exists()
    assert _visible(base.path) == [2, 3]


def _marks(base):
    return [
        f"{base.path}/{name}"
        for name in tf.io.gfile.listdir(base.path)
        if name.startswith(publishing_lock.MARK_PREFIX)
    ]


def test_a_dead_remote_publisher_is_cleaned_up_after(model):
    base = publishing_base.BasePath("ram://dead")
    tf.io.gfile.makedirs(base.path)
    for path in ("4/variables/data", "2/saved_model.pb"):
        tf.io.gfile.makedirs(os.path.dirname(f"{base.path}/{path}"))
        with tf.io.gfile.GFile(f"{base.path}/{path}", "w") as file:
            file.write("x")

    def mark(name, text):
        path = f"{base.path}/{publishing_lock.MARK_PREFIX}{name}"
        with tf.io.gfile.GFile(path, "w") as file:
            file.write(text)
        return path

    record = {"host": "far", "versions": [2, 4]}
    live = mark("live", json.dumps(record | {"time": time.time()}))
    with pytest.raises(errors.InputError, match="of host far"):
        publishing.put(model, base, 4)
    assert _marks(base) == [live]
    tf.io.gfile.remove(live)
    mark("dead", json.dumps(record | {"time": 0.0}))
    mark("cut", '{"host": ')
    publishing.put(model, base, 5)
    assert _visible(base.path) == [2, 5]
    assert _marks(base) == []


def test_a_remote_publisher_that_was_thought_dead_stops(model):
    base = publishing_base.BasePath("ram://lost")
    with base.changing() as lock:
        (own,) = _marks(base)
        tf.io.gfile.remove(own)
        with pytest.raises(errors.InputError, match="taken over"):
            base.add(model, 3, lock)
        assert _visible(base.path) == []
    publishing.put(model, base, 3)
    assert _marks(base) == []


def test_an_export_that_is_replaced_while_it_is_copied(tmp_path):
    """No two exports are mixed: `export --overwrite` against `publish`."""
    large = "variables/variables.data-00000-of-00001"
    source = _model(tmp_path / "model" / "3")
    with (source / large).open("wb") as file:
        file.truncate(1 << 28)  # sparse, but copied as 256 MB
    base = publishing_base.BasePath(str(tmp_path / "base"))
    outcomes = []

    def run():
        try:
            outcomes.append(publishing.put(str(source), base, 3))
        except errors.InputError as error:
            outcomes.append(str(error))

    with staging.staged(source, overwrite=True) as folder:
        changed = {name: b"new " + held for name, held in FILES.items()}
        _model(folder, changed)
        publisher = threading.Thread(target=run)
        publisher.start()
        while not pathlib.Path(base.path, ".publishing-3", large).exists():
            assert publisher.is_alive()
            time.sleep(0.001)
    publisher.join()
    (said,) = outcomes
    assert "must stay as it is" in said and str(source) in said
    assert _visible(base.path) == []
    publishing.put(str(source), base, 3)
    assert _tree(f"{base.path}/3") == changed


@pytest.mark.parametrize("change", ["other", "less", "more", "gone"])
def test_what_was_validated_is_what_is_published(base, tmp_path, change):
    source = _model(tmp_path / "3")
    seen = publishing_files.snapshot(str(source))
    if change == "other":
        _model(tmp_path / "new", FILES)
        cities = pathlib.Path("assets", "cities")
        os.replace(tmp_path / "new" / cities, source / cities)
    elif change == "less":
        (source / "assets" / "cities").unlink()
    elif change == "more":
        (source / "assets" / "towns").write_bytes(b"")
    else:
        source.rename(tmp_path / "former")
    with pytest.raises(errors.InputError, match="must stay as it is"):
        publishing.put(str(source), base, 3, seen=seen)
    assert _visible(base.path) == []


class Doubling(tf.Module):
    """A model that is quick to validate."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def double(self, x):
        return {"y": 2.0 * x}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model" / "7"
    model = Doubling()
    tf.saved_model.save(model, str(folder), model.double)
    return folder


def test_a_model_that_is_not_valid_is_refused(exported, tmp_path):
    damaged = _model(tmp_path / "3", _tree(exported) | {"saved_model.pb": b"x"})
    with pytest.raises(
        errors.InputError, match="must pass validation"
    ) as refused:
        publishing.publish(damaged, tmp_path / "base")
    assert "\n" not in str(refused.value)
    assert ".." not in str(refused.value)
    assert not (tmp_path / "base").exists()


def test_the_command_line(exported, tmp_path, capsys):
    base = str(tmp_path / "new" / "base")
    _model(tmp_path / "new" / "base" / "9")
    folder_of_versions = str(exported.parent)
    (tmp_path / "latest").symlink_to(exported)
    words = ["publish", f"{tmp_path}/latest/", f"file://{base}", "--keep", "3"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "Published version 7" in said and "Version 9 is newer" in said
    assert f"Wrote {base}/7" in said
    assert "Removed" not in said
    assert _tree(f"{base}/7") == _tree(exported)
    loaded = tf.saved_model.load(f"{base}/7")
    answer = loaded.signatures["serving_default"](x=tf.constant([3.0]))
    assert answer["y"].numpy() == [6.0]
    assert cli.main(["rollback", base]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Retired version 9" in said and "Version 7 is the newest" in said
    assert cli.main(["rollback", base]) == 2
    assert "an older version" in capsys.readouterr().err
    assert cli.main(["publish", folder_of_versions, base]) == 2
    assert "never changed" in capsys.readouterr().err


def test_models_and_base_paths_that_are_none(model, tmp_path):
    def refuse(match, *arguments, **options):
        with pytest.raises(errors.InputError, match=match) as refused:
            publishing.publish(*arguments, **options)
        assert "\n" not in str(refused.value)

    base = tmp_path / "base"
    file = tmp_path / "file"
    file.write_text("")
    nameless = _model(tmp_path / "model" / "best")
    refuse("absent, which does not exist", tmp_path / "absent", base)
    refuse("file, which is a file", file, base)
    refuse("which holds neither", tmp_path, base)
    refuse("Received: best.*--as", nameless, base)
    refuse("below 2\\^63", nameless, base, version=2**63)
    refuse("At least one", model, base, keep=0)
    refuse("which is a file", model, file)
    with pytest.raises(errors.InputError, match="Not a directory|not a dir"):
        publishing.put(model, publishing_base.BasePath(f"{file}/below"), 3)
    refuse("be a folder of versions", model, nameless)
    refuse("be a folder of versions", model, f"{model}/variables/base")
    refuse("version 3 .* exists", model, pathlib.Path(model).parent)
    (base / "0003").mkdir(parents=True)
    refuse("version 3 .* exists", model, base)
