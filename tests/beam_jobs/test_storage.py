"""Files of a job, on a disk and behind a URL."""

import pytest

from beam_jobs import storage
from beam_jobs.reading import log_files
from tests.support import shelf
from tfplugin.errors import InputError


@pytest.fixture(params=["disk", "url"])
def root(request, tmp_path):
    shelf.clear()
    return str(tmp_path / "root") if request.param == "disk" else "shelf://box"


def write(path, content):
    with storage.create(path) as stream:
        stream.write(content)


def test_a_file_is_there_once_it_is_whole(root):
    path = storage.join(root, "a", "b.bin")
    with storage.create(path) as stream:
        stream.write(b"123456789")
        assert not storage.exists(path)
    assert storage.exists(path)
    assert storage.read_bytes(path) == b"123456789"
    assert storage.size(path) == 9
    assert storage.checksum(path) == 0xE3069283
    assert storage.list_files(root) == [path]


def test_half_a_file_is_no_file(root):
    path = storage.join(root, "a.bin")
    write(path, b"before")
    with (
        pytest.raises(OSError, match="disk full"),
        storage.create(path) as file,
    ):
        file.write(b"half")
        raise OSError("disk full")
    assert storage.read_bytes(path) == b"before"
    assert storage.list_files(root) == [path]


def test_a_file_is_replaced(root):
    path = storage.join(root, "a.bin")
    write(path, b"before")
    write(path, b"after")
    assert storage.read_bytes(path) == b"after"


def test_a_stream_can_be_sought_in(root):
    path = storage.join(root, "a.bin")
    write(path, bytes(range(100)))
    with storage.open_file(path) as stream:
        stream.seek(90)
        assert stream.read() == bytes(range(90, 100))


def test_copies_cross_file_systems(root, tmp_path):
    path = storage.join(root, "a.bin")
    write(path, b"content")
    target = str(tmp_path / "far" / "b.bin")
    storage.copy(path, target)
    storage.copy(target, storage.join(root, "c", "d.bin"))
    assert storage.read_bytes(storage.join(root, "c", "d.bin")) == b"content"


def test_removal(root):
    write(storage.join(root, "kept.bin"), b"k")
    write(storage.join(root, "gone", "a.bin"), b"a")
    write(storage.join(root, "gone", "deep", "b.bin"), b"b")
    storage.remove(storage.join(root, "gone"))
    storage.remove(storage.join(root, "never"))
    assert storage.list_files(root) == [storage.join(root, "kept.bin")]
    storage.remove(storage.join(root, "kept.bin"))
    assert storage.list_files(root) == []


def test_names_are_those_of_the_folder(tmp_path):
    paths = storage.DatasetPaths("gs://bucket/dataset")
    assert paths.id_frequencies("item") == (
        "gs://bucket/dataset/id_frequencies/item"
    )
    assert paths.rejected == "gs://bucket/dataset/rejected"
    assert paths.sketches == "gs://bucket/dataset/sketches"
    assert paths.temporary == "gs://bucket/dataset/.temporary"


def test_a_file_system_that_lacks_its_packages_says_which():
    storage.configure(["--s3_region_name=nowhere"])
    with pytest.raises(InputError, match=r"needs apache-beam\[aws\]"):
        log_files.expand(["s3://bucket/*.csv"], "source.files")
