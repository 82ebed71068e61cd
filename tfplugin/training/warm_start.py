"""Carries an older model into a newer one, rows of tables by raw id."""

from collections.abc import Collection
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import keras

from tfplugin import artifacts
from tfplugin import layers
from tfplugin import optimizers
from tfplugin.errors import InputError
from tfplugin.training import carried_rows
from tfplugin.training import carried_state
from tfplugin.training import model_building

if TYPE_CHECKING:
    from tfplugin.training.experiment import Experiment

#: A variable's path, and which of those with the same path it is.
Key = tuple[str, int]


def check(
    source: artifacts.WorkFolder,
    work: artifacts.WorkFolder,
    earlier: Mapping[str, Any] | None,
) -> None:
    """Refuses a folder that a training cannot begin from.

    Args:
        source: Where the older model is.
        work: Where the newer one is trained.
        earlier: The history of the training that is resumed, or None.

    Raises:
        InputError: They are the same folder, nothing was trained in the older
            one, or the training that is resumed began from another.
    """
    path = str(source.path.resolve())
    if path == str(work.path.resolve()):
        raise InputError(
            "A warm start needs another folder than the one that is trained "
            f"in. Received: {source.path} as both. Name the folder of the "
            "older model, or use --resume."
        )
    if earlier is None:
        source.require_beginning()
        return
    began = (earlier.get("warm_start") or {}).get("from")
    if began != path:
        raise InputError(
            "A training that is resumed stays with what it began from: "
            f"{began or 'fresh weights'}. Received: --warm-start "
            f"{source.path}. Leave it out, or train with --overwrite."
        )


def reset_names() -> None:
    """Lets Keras number the names of layers from the start again.

    Weights are paired by their paths, which two models that are built in one
    process would otherwise not share.
    """
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)


def carry(old: "Experiment", new: "Experiment") -> dict[str, Any]:
    """Gives a new model what an older one has learned.

    Weights outside of tables are kept where path and shape are the same, and
    with them the state of their optimizer. A table's rows are paired by raw
    id (see `CarriedRows`) and so is the state of their optimizer where its
    rule is the same, and counts that grow online, where they do in both;
    counts of the dataset are those of the new one. Everything else stays as
    it was initialised. Learning rates are those of the new configuration.

    Rows are copied in blocks, so that memory holds the two models and a block.

    Args:
        old: Trained.
        new: Assembled; it is changed.

    Returns:
        `warm_start` of history.json: `from`, the older folder; `tables`,
        table to how many were `kept`, are `new` and were `dropped`, and the
        `unit` of these, `ids` or `rows` (of hashes); `fresh`, what is not
        carried, each with `name` and `reason`; `gone`, what the new model has
        no place for.

    Raises:
        InputError: A table has another `embedding_dim`.
    """
    old_weights, new_weights = _by_key(old.model), _by_key(new.model)
    old_tables, new_tables = _tables(old.model), _tables(new.model)
    _check_dims(old_tables, new_tables)
    before, now = old.config.training.tables, new.config.training.tables
    states = carried_state.CarriedState(
        old.model,
        new.model,
        counts=before.counts.grow_online and now.counts.grow_online,
        half_life=now.counts.half_life,
    )
    counted: dict[str, dict[str, Any]] = {}
    fresh, moved = _otherwise_mapped(old, new, counted)
    for key, layer in new_tables.items():
        if key in old_tables:
            pair = carried_rows.CarriedRows(old_tables[key], layer)
            fresh += _carry_table(key[0], pair, states)
            taken = layer.table_name in counted
            counted[key[0] if taken else layer.table_name] = pair.report()
    known = moved | (new_tables.keys() & old_tables.keys())
    fresh += _carry_others(new.model, old_weights, new_weights, known)
    fresh += states.carry_rest()
    fresh += [
        (type(callback).__name__, "variables of remedies are not carried")
        for callback in new.remedial
        if hasattr(callback, "trackables")
    ]
    return {
        "from": str(old.work.path.resolve()),
        "tables": counted,
        "fresh": [{"name": name, "reason": why} for name, why in fresh],
        "gone": [key[0] for key in old_weights if key not in new_weights],
    }


def _otherwise_mapped(
    old: "Experiment",
    new: "Experiment",
    counted: dict[str, dict[str, Any]],
) -> tuple[list[tuple[str, str]], set[Key]]:
    """Tables of ids that have other parts than before, and so other paths.

    Args:
        old: Trained.
        new: Assembled.
        counted: Is given their rows.

    Returns:
        Their names, each with the reason, and the keys of their parts.
    """
    before, now = _by_table(old), _by_table(new)
    fresh: list[tuple[str, str]] = []
    keys: set[Key] = set()
    for name, parts in now.items():
        earlier = before.get(name, {})
        if not earlier or earlier.keys() & parts.keys():
            continue
        was, is_now = (
            " beside ".join(
                carried_rows.describe(one.id_mapping) for one in some.values()
            )
            for some in (earlier, parts)
        )
        fresh.append((name, f"its mapping was {was} and is {is_now}"))
        keys |= parts.keys()
        counted[name] = {
            "kept": 0,
            "new": sum(map(carried_rows.num_own_rows, parts.values())),
            "dropped": sum(map(carried_rows.num_own_rows, earlier.values())),
            "unit": "rows",
        }
    return fresh, keys


def _by_table(
    experiment: "Experiment",
) -> dict[str, dict[Key, layers.Embedding]]:
    """Table of ids to the layers that hold its rows."""
    found: dict[str, dict[Key, layers.Embedding]] = {}
    for key, layer in _tables(experiment.model).items():
        name = experiment.context.table_of(layer.id_mapping)
        if name is not None:
            found.setdefault(name, {})[key] = layer
    return found


def _carry_table(
    name: str,
    pair: carried_rows.CarriedRows,
    states: carried_state.CarriedState,
) -> list[tuple[str, str]]:
    """Copies a table and its state; says what of it is fresh, and why."""
    reason = pair.reason()
    if reason is not None:
        return [(name, reason)]
    old, new = pair.old.embeddings, pair.new.embeddings
    state = states.of(old, new)
    for new_rows, old_rows in pair.blocks():
        for source, target in [(old, new), *state.per_row]:
            carried_state.copy_rows(source, target, old_rows, new_rows)
    state.finish()
    fresh = []
    if state.reason:
        fresh.append((f"optimizer state of {name}", state.reason))
    if pair.lost_special_rows():
        why = "`num_oov_buckets` is another"
        fresh.append((f"rows of unknown ids of {name}", why))
    return fresh


def _carry_others(
    model: keras.Model,
    old: Mapping[Key, keras.Variable],
    new: Mapping[Key, keras.Variable],
    done: Collection[Key],
) -> list[tuple[str, str]]:
    """Carries what is not in `done`; says what of it is fresh, and why."""
    tables = {id(table) for table in optimizers.find_tables(model)}
    fresh = []
    for key, variable in new.items():
        source = old.get(key)
        if key in done:
            continue
        if source is None:
            fresh.append((key[0], "the older model does not have it"))
        elif id(variable) in tables:
            fresh.append((key[0], "the ids of its rows are not known"))
        elif source.shape != variable.shape:
            shapes = f"{tuple(source.shape)} and is {tuple(variable.shape)}"
            fresh.append((key[0], f"its shape was {shapes}"))
        else:
            variable.assign(source.value)
    return fresh


def _check_dims(
    old: Mapping[Key, layers.Embedding], new: Mapping[Key, layers.Embedding]
) -> None:
    for key, layer in new.items():
        if key in old and old[key].embedding_dim != layer.embedding_dim:
            raise InputError(
                f"A warm start needs rows as long as before. Received: table "
                f"{layer.table_name} with embedding_dim {layer.embedding_dim},"
                f" before {old[key].embedding_dim}. Set it back, or train "
                "without --warm-start."
            )


def _tables(model: keras.Model) -> dict[Key, layers.Embedding]:
    by_variable = {
        id(layer.embeddings): layer
        for layer in model_building.embedding_layers(model)
    }
    return {
        key: by_variable[id(variable)]
        for key, variable in _by_key(model).items()
        if id(variable) in by_variable
    }


def _by_key(model: keras.Model) -> dict[Key, keras.Variable]:
    found: dict[Key, keras.Variable] = {}
    seen: dict[str, int] = {}
    for variable in model.weights:
        place = seen.get(variable.path, 0)
        seen[variable.path] = place + 1
        found[variable.path, place] = variable
    return found
