"""One version of a SavedModel in memory, ready to answer."""

import logging
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pool
from google.protobuf import message_factory

from serving import background
from serving import request_error
from serving import saved_model_file
from serving import signature as signature_lib
from serving import versions as versions_lib
from tfplugin import errors

# Names the SavedModel format gives to what initialises a model.
_INIT_OP = "__saved_model_init_op"
# A run is a matter of the thread that asks for it: to hand operations to others
# takes longer than most of them, and those on many rows share them out anyway.
_IN_THREAD = -1
_FUNCTIONS_AT_ONCE = 8
# Sets of outputs that get a graph of their own; a client that asks for others
# after that gets them out of a run of all outputs.
_MAX_CALLABLES = 64

_Callable = Callable[..., list[np.ndarray]]
_CallableOptions: Any = message_factory.GetMessageClass(
    descriptor_pool.Default().FindMessageTypeByName(
        "tensorflow.CallableOptions"
    )
)

_FOREGROUND = background.Foreground()

_logger = logging.getLogger(__name__)


class Servable:
    """One loaded version of a model. Any number of threads may run it.

    The graph is run by a Session, as in TensorFlow Serving: it takes arrays
    as they are (per call a tenth of the time of a function that
    `tf.saved_model.load` returns),
    loads without making Python functions of the graph's, which would hold up
    every request meanwhile, and gives memory back when it is closed.

    Args:
        name: The name clients ask for.
        version: The version's number.
        path: The folder that holds `saved_model.pb`.
        ground: Where it is loaded.

    Raises:
        errors.InputError: If the SavedModel is unfinished or damaged.

    Example:
    >>> import os, tempfile
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> model, base = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(model, os.path.join(base, "3"), model.__call__)
    >>> servable = Servable.load(base, "double")
    >>> servable.version
    3
    >>> servable.run("serving_default", {"x": np.array([1, 4], np.float32)})
    {'y': array([2., 8.], dtype=float32)}
    >>> servable.close()
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: str,
        ground: background.Ground = _FOREGROUND,
    ) -> None:
        self.name = name
        self.version = version
        self.path = path
        started = time.monotonic()
        try:
            meta_graph = saved_model_file.read_meta_graph(path)
            self.signature_defs: Mapping[str, Any] = dict(
                meta_graph.signature_def
            )
            self._signatures = {
                key: signature_lib.Signature.from_proto(key, definition)
                for key, definition in self.signature_defs.items()
                if key != _INIT_OP
            }
            self._session = _start_session(meta_graph, path, ground)
        except (
            OSError,
            ValueError,
            RuntimeError,
            KeyError,
            tf.errors.OpError,
        ) as error:
            raise errors.InputError(
                "The SavedModel is unfinished or damaged. "
                f"Received: path={path!r} ({type(error).__name__}). "
                "Export the model again."
            ) from error
        self._callables: dict[tuple[str, tuple[str, ...]], _Callable] = {}
        self._lock = threading.Lock()
        _logger.info(
            "Loaded model %s version %d from %s in %.1f s",
            name,
            version,
            path,
            time.monotonic() - started,
            extra={"fields": {"model": name, "version": version}},
        )

    @classmethod
    def load(
        cls,
        base_path: str | os.PathLike[str],
        name: str,
        version: int | None = None,
    ) -> "Servable":
        """Loads `<base_path>/<version>/saved_model.pb`.

        Args:
            base_path: The folder of a model's versions.
            name: The name clients ask for.
            version: The version to load; by default the highest finished.

        Raises:
            errors.InputError: If there is no such version.
        """
        versions = versions_lib.find_versions(base_path)
        if version is None:
            version = max(versions)
        if version not in versions:
            raise errors.InputError(
                "The version must be one of "
                f"{sorted(versions)}. Received: version={version} of "
                f"{base_path!r}."
            )
        return cls(name, version, versions[version])

    def signature(self, name: str = "") -> signature_lib.Signature:
        """Returns one signature of the model.

        Args:
            name: Its name; '' stands for `serving_default`.

        Raises:
            RequestError: `FAILED_PRECONDITION`, as in TensorFlow Serving, if
                the model has no such signature.
        """
        name = name or signature_lib.SERVING_DEFAULT
        if name not in self._signatures:
            raise request_error.RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found. The model has: '
                f"{', '.join(sorted(self._signatures))}.",
            )
        return self._signatures[name]

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str] = (),
    ) -> dict[str, np.ndarray]:
        """Checks the arrays, runs a signature on them, returns its outputs.

        Args:
            signature_name: The signature; '' stands for `serving_default`.
            inputs: One array for every input; strings are arrays of objects,
                each bytes. A batch of 0 rows is run too: a model that takes
                it returns outputs of 0 rows.
            output_filter: The outputs to return; by default all.

        Returns:
            Output arrays by name, in the order of the filter, else by name.

        Raises:
            RequestError: `INVALID_ARGUMENT` for inputs or outputs that do not
                match the signature, `FAILED_PRECONDITION` for an unknown
                signature, or the code of an error raised inside the model.
        """
        signature = self.signature(signature_name)
        signature.check_arrays(inputs)
        wanted = tuple(output_filter)
        signature.check_output_filter(wanted)
        return self.execute(
            signature, [inputs[name] for name in signature.inputs], wanted
        )

    def execute(
        self,
        signature: signature_lib.Signature,
        arrays: Sequence[np.ndarray],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature on arrays that have been checked.

        Args:
            signature: One of this servable's.
            arrays: The inputs in the order of `signature.inputs`.
            output_filter: As for `run`.

        Returns:
            As for `run`.

        Raises:
            RequestError: With the code of an error raised inside the model.
        """
        wanted = tuple(output_filter) or tuple(signature.outputs)
        try:
            fetched, call = self._callable(signature, wanted)
            values = call(*arrays)
        except tf.errors.OpError as error:
            raise request_error.RequestError.from_tensorflow(error) from error
        except UnicodeDecodeError as error:
            # TensorFlow's message quotes bytes of an input, which makes its
            # error impossible to construct; the message is in here.
            message = error.object.decode(errors="replace")
            raise request_error.RequestError.invalid(message) from error
        outputs = dict(zip(fetched, values, strict=True))
        return {name: outputs[name] for name in wanted}

    def close(self) -> None:
        """Gives the model's memory back. Nothing may run it any more."""
        self._callables.clear()
        self._session.close()

    def _callable(
        self, signature: signature_lib.Signature, wanted: tuple[str, ...]
    ) -> tuple[tuple[str, ...], _Callable]:
        fetched = tuple(sorted(wanted))
        call = self._callables.get((signature.name, fetched))
        if call is None:
            # TensorFlow keeps an executor for every set it has been asked
            # for, which a client must not be able to fill memory with.
            if len(self._callables) >= _MAX_CALLABLES:
                fetched = tuple(signature.outputs)
            with self._lock:
                call = self._callables.get((signature.name, fetched))
                if call is None:
                    call = self._make_callable(signature, fetched)
                    self._callables[signature.name, fetched] = call
        return fetched, call

    def _make_callable(
        self,
        signature: signature_lib.Signature,
        fetched: tuple[str, ...],
    ) -> _Callable:
        definition = self.signature_defs[signature.name]
        options = _CallableOptions(
            feed=[definition.inputs[name].name for name in signature.inputs],
            fetch=[definition.outputs[name].name for name in fetched],
        )
        options.run_options.inter_op_thread_pool = _IN_THREAD
        # Not public, and tested for: what is public looks at names and values
        # in Python for a quarter of a millisecond before each run.
        make = self._session._make_callable_from_options
        call: _Callable = make(options)
        return call


def _start_session(
    meta_graph: tf.compat.v1.MetaGraphDef,
    path: str,
    ground: background.Ground,
) -> tf.compat.v1.Session:
    """Does what TensorFlow's C++ loader does with a SavedModel."""
    graph = tf.Graph()
    with graph.as_default():
        _import(meta_graph.graph_def, ground)
        for key, definition in meta_graph.signature_def.items():
            if key != _INIT_OP:
                _part_outputs_from_inputs(definition)
    session = tf.compat.v1.Session(graph=graph)
    # Else TensorFlow's own threads did it, which do not stand back.
    options = None
    if ground.stands_back:
        options = tf.compat.v1.RunOptions(inter_op_thread_pool=_IN_THREAD)
    try:
        assets = {
            asset.tensor_info.name: f"{path}/assets/{asset.filename}"
            for asset in meta_graph.asset_file_def
        }
        saver = meta_graph.saver_def
        if saver.restore_op_name:
            variables = f"{path}/variables/variables"
            restore = graph.get_operation_by_name(saver.restore_op_name)
            feeds = {saver.filename_tensor_name: variables, **assets}
            ground.run(lambda: session.run(restore, feeds, options=options))
        if _INIT_OP in meta_graph.signature_def:
            init = meta_graph.signature_def[_INIT_OP].outputs[_INIT_OP]
            ground.run(lambda: session.run(init.name, assets, options=options))
    except BaseException:
        session.close()
        raise
    return session


def _import(
    graph_def: tf.compat.v1.GraphDef, ground: background.Ground
) -> None:
    """Imports functions a few at a time, since meanwhile no Python runs."""
    functions = graph_def.library.function
    for start in range(0, len(functions), _FUNCTIONS_AT_ONCE):
        part = tf.compat.v1.GraphDef(versions=graph_def.versions)
        part.library.function.extend(
            functions[start : start + _FUNCTIONS_AT_ONCE]
        )
        started = time.monotonic()
        tf.compat.v1.import_graph_def(part, name="")
        ground.give_way(time.monotonic() - started)
    rest = tf.compat.v1.GraphDef()
    rest.CopyFrom(graph_def)
    rest.library.ClearField("function")
    tf.compat.v1.import_graph_def(rest, name="")


def _part_outputs_from_inputs(definition: Any) -> None:
    """TensorFlow refuses to fetch what it is fed."""
    fed = {info.name for info in definition.inputs.values()}
    for info in definition.outputs.values():
        # A sparse tensor has no name of its own.
        if info.name and info.name in fed:
            tensor = tf.compat.v1.get_default_graph().get_tensor_by_name(
                info.name
            )
            info.name = tf.identity(tensor).name
