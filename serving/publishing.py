"""From an exported version to the base path that servers watch, and back."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from serving import publishing_base
from serving import publishing_files
from serving import saved_model_file
from serving import validation
from serving import versions as versions_lib
from tfplugin import errors


@dataclass(frozen=True)
class Published:
    """What `publish` did.

    Args:
        path: The folder of the published version.
        version: Its number.
        bytes: Of its files.
        newest: The highest finished version of the base path: what a server
            with the policy "latest" goes on to.
        removed: Older versions that `keep` left no place for.
    """

    path: str
    version: int
    bytes: int
    newest: int
    removed: tuple[int, ...] = ()


@dataclass(frozen=True)
class RolledBack:
    """What `rollback` did.

    Args:
        version: What is now the highest finished version.
        retired: Versions that no server sees any more, lowest first.
        path: The folder they are in now.
    """

    version: int
    retired: tuple[int, ...]
    path: str


def publish(
    model_path: str | os.PathLike[str],
    base_path: str | os.PathLike[str],
    *,
    version: int | None = None,
    keep: int | None = None,
) -> Published:
    """Validates an exported version and copies it to `BASE/<version>`.

    A server sees the version whole or not at all: it is copied under a name
    that servers ignore, read back, compared by size and CRC-32C, and renamed.
    A model that is exported anew between its validation and the end of the
    copy is refused, so that no two exports are mixed.
    On remote file systems, which cannot rename a folder at once,
    `saved_model.pb` is written last instead. Publishers of one base path
    exclude each other; what one that was cut off has left, the next removes.

    Args:
        model_path: A version's folder, or a folder of versions, of which the
            highest is published. Local or of a scheme that TensorFlow knows.
        base_path: The folder that servers watch; created if it is absent.
        version: The number it is published as; its own folder's if None.
        keep: How many finished versions stay, the highest; None for all. Of
            those that `rollback` retired as many stay.

    Raises:
        errors.InputError: There is no complete model; it fails
            `validation.validate`, or changes meanwhile; the version is
            published already, or `keep`
            would remove it at once; another publisher is at work; a file
            system refuses something, as when it is full.

    Reference: TensorFlow Extended's Pusher, for `saved_model.pb` as the last.
    """
    if keep is not None and keep < 1:
        raise errors.InputError(
            f"At least one version must stay. Received: --keep {keep}. Give 1 "
            "or more."
        )
    wanted = publishing_files.clean(model_path)
    with publishing_files.refusals("A model must be readable.", wanted):
        source, number = _source(wanted, version)
        seen = publishing_files.snapshot(source)
    base = publishing_base.BasePath(publishing_files.clean(base_path))
    rule = "A base path must be writable and have room for a version."
    with publishing_files.refusals(rule, base.path):
        _refuse_place(base, source)
        _refuse_version(base, number, keep)
    _refuse_invalid(source, seen)
    return put(source, base, number, keep, seen=seen)


def put(
    source: str,
    base: publishing_base.BasePath,
    version: int,
    keep: int | None = None,
    *,
    seen: publishing_files.Snapshot | None = None,
) -> Published:
    """Copies a version that is known to be good; see `publish`.

    Args:
        source: The version's folder.
        base: Where it goes.
        version: The number it takes.
        keep: As in `publish`.
        seen: Its files when it was found good; None for those it has now.

    Raises:
        errors.InputError: See `publish`.
    """
    rule = "A base path must be writable and have room for a version."
    with publishing_files.refusals(rule, base.path):
        with base.changing() as lock:
            # Again, now that nobody else can publish it.
            _refuse_version(base, version, keep)
            copied = base.add(source, version, lock, seen)
            removed = []
            if keep is not None:
                removed = list(base.versions())[:-keep]
                for old in removed:
                    base.remove(old, lock)
            retired = base.versions(publishing_base.RETIRED)
            stale = list(retired)[:-keep] if keep is not None else []
            for old in {*stale, version} & retired.keys():
                base.remove(old, lock, publishing_base.RETIRED)
            newest = max(base.versions())
    return Published(
        base.place(version), version, copied, newest, tuple(removed)
    )


def rollback(
    base_path: str | os.PathLike[str], to: int | None = None
) -> RolledBack:
    """Takes the newest version away, so that servers go back to one before.

    Retired versions are kept in `BASE/.retired`, which no server looks into;
    publishing one from there, or from where it was exported, undoes this.

    Args:
        base_path: The folder that servers watch.
        to: The version to go back to; the one before the newest if None. All
            newer ones are retired.

    Raises:
        errors.InputError: There is no such version, or none before the
            newest; another publisher is at work; a file system refuses
            something.
    """
    base = publishing_base.BasePath(publishing_files.clean(base_path))
    with publishing_files.refusals("A base path must be writable.", base.path):
        if not tf.io.gfile.isdir(base.path):
            raise errors.InputError(
                f"A base path must be a folder. Received: {base.path}, which "
                f"{_what_is(base.path)}. Name the one that was published to."
            )
        with base.changing() as lock:
            versions = list(base.versions())
            goal = _goal(base.path, versions, to)
            # The lowest first: no server loads one that goes next.
            retired = versions[versions.index(goal) + 1 :]
            for version in retired:
                base.retire(version, lock)
    return RolledBack(
        goal, tuple(retired), f"{base.path}/{publishing_base.RETIRED}"
    )


def _goal(path: str, versions: list[int], to: int | None) -> int:
    if to is None and len(versions) > 1:
        return versions[-2]
    if to is not None and to in versions[:-1]:
        return to
    if len(versions) < 2:
        rule = "A rollback needs an older version to go back to."
        held = f"{path}, which holds no finished version"
        mend = "Publish one first."
        if versions:
            held = f"{path}, which holds {_listed(versions)} only"
            mend = "Publish the model to go back to, under a higher number."
    else:
        rule = "--to must name a finished version below the newest."
        held = f"--to {to} for {path}, which holds {_listed(versions)}"
        older = versions[:-1]
        mend = f"Name {'one of ' * (len(older) > 1)}{_listed(older)}."
    raise errors.InputError(f"{rule} Received: {held}. {mend}")


def _source(path: str, version: int | None) -> tuple[str, int]:
    """The folder to publish and its number."""
    if not publishing_files.is_remote(path):
        # `latest -> 7` is a name for 7.
        path = os.path.realpath(path)
    if not tf.io.gfile.exists(f"{path}/{saved_model_file.NAME}"):
        versions = publishing_base.BasePath(path).versions()
        if not versions:
            raise errors.InputError(
                "A model must be a version's folder, with a saved_model.pb, "
                "or a folder of versions named by numbers. Received: "
                f"{path}, which {_what_is(path)}. Name one that `tfplugin "
                "export` has written, as in WORK/model."
            )
        path = f"{path}/{_last(versions)}"
    name = path.rpartition("/")[2]
    if version is None:
        version = versions_lib.number_of(name)
    if version is None or not 0 <= version <= tf.int64.max:
        raise errors.InputError(
            "A version must be named by a whole number below 2^63. Received: "
            f"{name if version is None else version}. Give it one with --as."
        )
    return path, version


def _what_is(path: str) -> str:
    if not tf.io.gfile.exists(path):
        return "does not exist"
    return "holds neither" if tf.io.gfile.isdir(path) else "is a file"


def _last(versions: Mapping[int, str]) -> str:
    return versions[max(versions)]


def _refuse_place(base: publishing_base.BasePath, source: str) -> None:
    path = base.path
    if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
        raise errors.InputError(
            f"A base path must be a folder. Received: {path}, which is a file. "
            "Name another one."
        )
    inside = not publishing_files.is_remote(path) and (
        f"{os.path.realpath(path)}/".startswith(f"{source}/")
    )
    mark = f"{path}/{saved_model_file.NAME}"
    if inside or tf.io.gfile.exists(mark):
        raise errors.InputError(
            "A base path must be a folder of versions. Received: "
            f"{path}, which is a version or within one. Name the folder that "
            "servers watch."
        )


def _refuse_version(
    base: publishing_base.BasePath, version: int, keep: int | None
) -> None:
    if version in base.numbers():
        raise errors.InputError(
            "A published version is never changed. Received: version "
            f"{version} of {base.path}, which exists. Publish it under "
            f"another number, as with --as {max(base.numbers()) + 1}."
        )
    above = [one for one in base.versions() if one > version]
    if keep is not None and len(above) >= keep:
        raise errors.InputError(
            "A version must be among those that --keep lets stay, the "
            f"highest. Received: version {version} with --keep {keep}, where "
            f"{base.path} holds {_listed(above)} above it. Publish it under a "
            "higher number with --as, or keep more."
        )


def _refuse_invalid(source: str, seen: publishing_files.Snapshot) -> None:
    report = validation.validate(source)
    if not report.passed:
        publishing_files.refuse_changed(source, seen)
        problems = "; ".join(
            " ".join(problem.split()).rstrip(".") for problem in report.problems
        )
        raise errors.InputError(
            "A model must pass validation to be published. Received: "
            f"{source}: {problems}. Export it again; `tfplugin validate "
            f"{shlex.quote(source)}` shows all checks."
        )


def _listed(versions: list[int]) -> str:
    if len(versions) == 1:
        return f"version {versions[0]}"
    *some, last = map(str, versions)
    return f"versions {', '.join(some)} and {last}"
