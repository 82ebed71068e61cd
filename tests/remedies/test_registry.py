import json
import subprocess
import sys

import pytest

import tfplugin.remedies
from tests.support import experiments
from tfplugin import config as config_lib
from tfplugin import remedies
from tfplugin.errors import InputError
from tfplugin.remedies import registry


def test_on_off_and_defaults():
    found = remedies.parse(
        {
            "cow_clip": {"ratio": 2.0},
            "embedding_reset": True,
            "table_sets": False,
            "objective_early_stopping": None,
        }
    )
    assert list(found) == ["cow_clip", "embedding_reset"]
    assert found["cow_clip"].ratio == 2.0
    assert found["embedding_reset"].start_epoch == 2
    assert remedies.parse(found) == found


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"embeding_reset": True}, "`embeding_reset`.*`embedding_reset`"),
        ({"nothing_like_it": True}, "is no remedy; remedies are"),
        ({7: True}, "`7` is no remedy"),
        (
            {"embedding_reset": {"start_epok": 3}},
            "`embedding_reset.start_epok`.*`start_epoch`",
        ),
        ({"embedding_reset": {"start_epoch": 1}}, "start_epoch.*received 1"),
        ({"embedding_reset": 3}, "takes true, false.*received 3"),
        ({"table_sets": {"sets": 3, "passes_per_chunk": 2}}, "2 for 3 sets"),
        ({"freeze_tables": {"tables": []}}, r"freeze_tables\.tables"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(sections, words):
    with pytest.raises(ValueError, match=words) as caught:
        remedies.parse(sections)
    assert "\n" not in str(caught.value)


def test_remedies_that_do_not_go_together_are_refused_both_ways():
    both = {"table_sets": True, "embedding_reset": True}
    for sections in (both, dict(reversed(both.items()))):
        with pytest.raises(ValueError, match="do not go together: each set"):
            remedies.parse(sections)
    for name, kind in remedies.known().items():
        for other in kind.conflicts:
            assert other in remedies.known(), name


def test_every_conflict_names_a_remedy_and_a_reason():
    for kind in remedies.known().values():
        for other, reason in kind.conflicts.items():
            assert other in remedies.known()
            assert reason


@pytest.mark.parametrize("name", list(remedies.known()))
def test_every_remedy_has_defaults_texts_and_survives_json(name):
    remedy = remedies.parse({name: True})[name]
    assert type(remedy).__doc__
    dumped = json.loads(json.dumps(remedy.model_dump(mode="json")))
    assert remedies.parse({name: dumped})[name] == remedy


def test_a_new_module_is_a_new_remedy(tmp_path, monkeypatch):
    """One file, and no other needs to know of it."""
    (tmp_path / "sleep_well.py").write_text(
        "from tfplugin.remedies import base\n"
        "class SleepWell(base.Remedy):\n"
        '    """Sleeps.\n\n    Args:\n        hours: How long.\n    """\n'
        "    hours: float = 8.0\n"
    )
    room = tfplugin.remedies
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    registry.known.cache_clear()
    try:
        found = remedies.parse({"sleep_well": {"hours": 7}})
        assert found["sleep_well"].hours == 7.0
        with pytest.raises(ValueError, match=r"sleep_well\.hours"):
            remedies.parse({"sleep_well": {"hours": "many"}})
        (tmp_path / "empty_one.py").write_text('"""Nothing."""\n')
        registry.known.cache_clear()
        with pytest.raises(TypeError, match="empty_one with 0"):
            remedies.known()
    finally:
        monkeypatch.undo()
        registry.known.cache_clear()
        sys.modules.pop("tfplugin.remedies.sleep_well", None)
        sys.modules.pop("tfplugin.remedies.empty_one", None)


def test_a_configuration_with_remedies_survives_its_file(tmp_path):
    config, _ = experiments.make(
        tmp_path,
        "training.remedies={freeze_tables: {tables: [tags]}}",
        "training.remedies.embedding_reset.tables=[user, city]",
    )
    path = tmp_path / "again.yaml"
    path.write_text(config_lib.dump(config))
    again = config_lib.load(path)
    assert again == config
    assert again.training.remedies["embedding_reset"].tables == (
        "user",
        "city",
    )
    off = config_lib.load(path, ["training.remedies.embedding_reset=false"])
    assert list(off.training.remedies) == ["freeze_tables"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("embeding_reset=true", "training.remedies.*`embedding_reset`"),
        (
            "embedding_reset.tables=[usr]",
            "embedding_reset.*`usr`.*are city, .*user",
        ),
        ("table_sets.tables=[price]", "table_sets.*`price`.*no table"),
        (
            "objective_early_stopping.objectives=[clik]",
            "`clik`.*are buy, click",
        ),
    ],
)
def test_wrong_names_are_refused_when_a_configuration_is_read(
    tmp_path, override, words
):
    experiments.make(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        config_lib.load(
            tmp_path / "small.yaml", [f"training.remedies.{override}"]
        )
    assert "\n" not in str(caught.value)


def test_a_configuration_is_read_without_tensorflow():
    program = (
        "import sys; from tfplugin import remedies;"
        "[remedies.parse({name: True}) for name in remedies.known()];"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("other", ["embedding_reset", "table_sets"])
def test_frozen_tables_are_not_drawn_anew(other):
    apart = {
        "freeze_tables": {"tables": ["a"]},
        other: {"tables": ["b"]},
    }
    assert len(registry.parse(apart)) == 2
    with pytest.raises(ValueError, match="would stay random; give each"):
        registry.parse({"freeze_tables": True, other: {"tables": ["b"]}})
    with pytest.raises(ValueError, match="would stay random, here b"):
        registry.parse(
            {"freeze_tables": {"tables": ["a", "b"]}, other: {"tables": ["b"]}}
        )


#: Overrides under which nothing would ever happen, and the way out.
_NEVER = [
    ("embedding_reset.start_epoch=4", "at most training.epochs=3.*start"),
    ("freeze_tables.after_epochs=3", "below training.epochs=3.*after"),
    ("table_sets.sets=4", "at most training.epochs=3.*sets"),
]


@pytest.mark.parametrize("chunks", ["together", "last", "in_order"])
@pytest.mark.parametrize(("override", "words"), _NEVER)
def test_a_number_beyond_the_epochs_is_refused(
    tmp_path, override, words, chunks
):
    experiments.make(tmp_path)
    overrides = [
        "training.epochs=3",
        f"training.chunks={chunks}",
        f"training.remedies.{override}",
    ]
    if chunks == "in_order":  # as many epochs as chunks, times three
        config_lib.load(tmp_path / "small.yaml", overrides)
        return
    with pytest.raises(InputError, match=f"remedies.*{words}") as caught:
        config_lib.load(tmp_path / "small.yaml", overrides)
    assert "\n" not in str(caught.value)
    enough = [*overrides, "training.epochs=4"]
    config_lib.load(tmp_path / "small.yaml", enough)


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize(
    "section",
    [
        {"freeze_tables": {"after_epochs": 1}},
        {"embedding_reset": {"start_epoch": 2}},
        {"table_sets": {"sets": 2}},
    ],
)
def test_least_numbers_go_with_any_epochs(tmp_path, section, epochs):
    config, _ = experiments.make(tmp_path)
    changed = config_lib.with_changes(
        config, {"training.remedies": section, "training.epochs": epochs}
    )
    assert list(changed.training.remedies) == list(section)
