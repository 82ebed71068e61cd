import os

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.config import file_system_storage_path_source_pb2

from serving import model_config
from serving import versions
from tfplugin import errors

Config = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig


def make_version(base, name):
    (base / name).mkdir()
    (base / name / "saved_model.pb").touch()


def test_versions_beyond_int64_are_ignored(tmp_path):
    for name in ("7", str(2**63 - 1), str(2**63), "9" * 20, "0" * 30 + "9"):
        make_version(tmp_path, name)
    assert sorted(versions.find_versions(tmp_path)) == [7, 9, 2**63 - 1]


@pytest.mark.parametrize("name", ["-1", "1.0", "x1", "٣", "1_0", "tmp"])
def test_other_names_are_ignored(tmp_path, name):
    make_version(tmp_path, name)
    assert versions.list_versions(tmp_path) == versions.Listing()


def test_half_copied_and_unreadable_folders_are_named(tmp_path):
    make_version(tmp_path, "3")
    (tmp_path / "4").mkdir()
    (tmp_path / "5").symlink_to(tmp_path / "5")
    (tmp_path / "6").write_text("a file")
    listing = versions.list_versions(tmp_path)
    assert list(listing.versions) == [3]
    skipped = {os.path.basename(k): v for k, v in listing.skipped.items()}
    assert "no saved_model.pb" in skipped["4"]
    assert "cannot be read" in skipped["5"]
    assert set(skipped) == {"4", "5", "6"}


def test_folder_without_version(tmp_path):
    with pytest.raises(errors.InputError, match="Export a model") as error:
        versions.find_versions(tmp_path)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(errors.InputError, match="does not exist"):
        versions.find_versions(tmp_path / "absent")
    with pytest.raises(tf.errors.NotFoundError):
        versions.list_versions(tmp_path / "absent")


def test_folder_that_is_a_version(tmp_path):
    make_version(tmp_path, "12")
    with pytest.raises(errors.InputError, match="the folder above"):
        versions.find_versions(tmp_path / "12")


numbers = st.lists(st.integers(0, 2**63 - 1), max_size=8)


@given(numbers, st.integers(0, 4))
def test_latest(found, count):
    policy = Config.ServableVersionPolicy()
    policy.latest.num_versions = count
    expected = sorted(set(found))[::-1][: max(1, count)]
    assert versions.choose(found, policy) == expected


@given(numbers, numbers)
def test_specific_and_all(found, wanted):
    policy = Config.ServableVersionPolicy()
    assert versions.choose(found, policy) == sorted(set(found))[::-1][:1]
    policy.specific.versions.extend(wanted)
    expected = sorted(set(found) & set(wanted))[::-1]
    assert versions.choose(found, policy) == (expected if wanted else [])
    policy.all.SetInParent()
    assert versions.choose(found, policy) == sorted(set(found))[::-1]


def test_fingerprint_changes_with_the_file(tmp_path):
    make_version(tmp_path, "1")
    before = versions.fingerprint(f"{tmp_path}/1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"1234")
    assert versions.fingerprint(f"{tmp_path}/1") != before


MODELS = """
model_config_list {
  config {
    name: "ctr"
    base_path: "/models/ctr"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 4 } }
    version_labels { key: "stable" value: 3 }
  }
  config { name: "cvr" base_path: "gs://bucket/cvr" }
}
"""


def test_model_config_file(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(MODELS)
    models = model_config.by_name(model_config.read(path))
    assert list(models) == ["ctr", "cvr"]
    assert models["ctr"].version_labels["stable"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list { config { nme: 'a' } }", "nme"),
        ("model_config_list { config { base_path: '/a' } }", "name=''"),
        ("model_config_list { config { name: 'a' } }", "base_path"),
        (
            "model_config_list { config { name: 'a/../b' base_path: '/a' } }",
            "without '/'",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/a' } "
            "config { name: 'a' base_path: '/b' } }",
            "twice",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/a' "
            "model_platform: 'onnx' } }",
            "onnx",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/a' "
            "version_labels { key: '' value: 1 } } }",
            "label",
        ),
        ("custom_model_config { }", "custom_model_config"),
        ("\xff\xfe{", "must be"),
    ],
)
def test_model_config_is_refused(tmp_path, text, message):
    path = tmp_path / "models.config"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(errors.InputError, match=message):
        model_config.read(path)


def test_absent_model_config(tmp_path):
    with pytest.raises(errors.InputError, match="readable"):
        model_config.read(tmp_path / "absent")
