"""The files of this folder, filled with one model's name and sizes.

They are complete as they are, for a model `example_model`; what depends on the
model is replaced in their text, so that their comments stay.
"""

import dataclasses
import functools
import json
import pathlib
import re

import yaml

from tfplugin import artifacts
from tfplugin import errors

_HERE = pathlib.Path(__file__).parent
_PATTERNS = ("*.config", "*.txt", "*.yaml", "kubernetes/*.yaml")

_MIB = 1 << 20
_GIB = 1 << 30
# TensorFlow itself, and requests on their way.
_RUNTIME_BYTES = 1 << 30
# So many versions fit into the volume.
_KEPT_VERSIONS = 5
_MIN_STORAGE_GIB = 10
# Kubernetes takes 63 characters; the longest name made of it appends 10.
_MAX_KUBERNETES_NAME = 53


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the files depend on.

    Args:
        model_name: The name clients ask for: letters, digits, `_`, and after
            the first also `-` and `.`.
        base_path: The folder of the model's versions on the machine that
            runs the compose file. On Kubernetes versions lie in a volume.
        image: TensorFlow Serving's image, with its tag.
        cores: What one server gets, at least 1.
        version_bytes: Bytes of one version on disk. A server gets memory for
            two versions, the volume room for five.

    Raises:
        errors.InputError: For a name, an image or a number that cannot be.

    Example:
    >>> settings = Settings("Shop_ctr", pathlib.Path("/srv/shop"))
    >>> settings.kubernetes_name
    'shop-ctr'
    >>> Settings("ctr", pathlib.Path("m"), version_bytes=10**10).memory_mib
    20480
    """

    model_name: str
    base_path: pathlib.Path
    image: str = "tensorflow/serving:2.19.1"
    cores: int = 4
    version_bytes: int = 0

    def __post_init__(self) -> None:
        for name, pattern, rule in (
            ("model_name", r"\w[\w.-]*", "letters, digits and '_.-'"),
            ("image", r"[A-Za-z0-9][A-Za-z0-9_.:/@-]*", "an image's name"),
        ):
            value = getattr(self, name)
            if not re.fullmatch(pattern, value, re.ASCII):
                raise errors.InputError(
                    f"`{name}` must be {rule}. Received: {name}={value!r}."
                )
        if self.cores < 1:
            raise errors.InputError(
                f"`cores` must be at least 1. Received: cores={self.cores}."
            )

    @property
    def kubernetes_name(self) -> str:
        """The model's name as Kubernetes allows names to be."""
        name = re.sub(r"[^a-z0-9]+", "-", self.model_name.lower()).strip("-")
        # What YAML reads as a number or as true is no name, and some of its
        # readers take y and n for true and false.
        word = len(name) > 1 and yaml.safe_load(name) == name
        if not name[:1].isalpha() or not word:
            name = f"model-{name}"
        return name[:_MAX_KUBERNETES_NAME].strip("-")

    @property
    def memory_mib(self) -> int:
        """Memory of one server: two versions and the runtime, in MiB."""
        return _ceil(2 * self.version_bytes + _RUNTIME_BYTES, 512 * _MIB) * 512

    @property
    def storage_gib(self) -> int:
        """Room for versions, in GiB."""
        needed = _ceil(_KEPT_VERSIONS * self.version_bytes, _GIB)
        return max(needed, _MIN_STORAGE_GIB)


def render(settings: Settings) -> dict[str, str]:
    """The files by their path within the folder.

    Args:
        settings: What is filled in.

    Returns:
        Relative path, such as `kubernetes/service.yaml`, to text.

    Example:
    >>> files = render(Settings("ctr", pathlib.Path("/srv/ctr"), cores=2))
    >>> 'name: "ctr"' in files["models.config"]
    True
    """
    values = _values(settings)
    longest_first = sorted(values, key=len, reverse=True)
    # In one pass, so that what was filled in is not replaced itself.
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    fill = functools.partial(pattern.sub, lambda found: values[found[0]])
    paths = sorted(path for each in _PATTERNS for path in _HERE.glob(each))
    return {
        path.relative_to(_HERE).as_posix(): fill(path.read_text("utf-8"))
        for path in paths
    }


def write(
    folder: pathlib.Path, settings: Settings, overwrite: bool = False
) -> list[pathlib.Path]:
    """Writes the files.

    Args:
        folder: Where to; it is created.
        settings: What is filled in.
        overwrite: Whether files of these names may be replaced.

    Returns:
        The paths written, sorted.

    Raises:
        errors.InputError: One of the files exists, or the folder cannot be
            written to.

    Example:
    >>> import tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "deployment"
    >>> written = write(folder, Settings("ctr", pathlib.Path("/srv/ctr")))
    >>> written[0].relative_to(folder).as_posix()
    'batching_parameters.txt'
    """
    files = {folder / name: text for name, text in render(settings).items()}
    present = [path for path in files if path.exists()]
    if present and not overwrite:
        raise errors.InputError(
            "Files of a deployment are not replaced unasked, since people "
            f"edit them. Received: {present[0]}, which exists. Name another "
            "folder, or say --overwrite."
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            artifacts.write_text(path, text)
    except OSError as error:
        raise errors.InputError(
            f"The folder must be writable. Received: {folder} "
            f"({error.strerror}). Name another."
        ) from error
    return sorted(files)


def _values(settings: Settings) -> dict[str, str]:
    """What stands in the files, and what belongs there."""
    cores = settings.cores
    # Compose reads a dollar sign as the beginning of a variable.
    source = json.dumps(str(settings.base_path).replace("$", "$$"))
    return {
        "example_model": settings.model_name,
        "example-model": settings.kubernetes_name,
        "source: ./model": f"source: {source}",
        "tensorflow/serving:2.19.1": settings.image,
        "with 4 cores": f"with {cores} core" + ("s" if cores > 1 else ""),
        "num_batch_threads { value: 4 }": (
            f"num_batch_threads {{ value: {cores} }}"
        ),
        "_parallelism=4": f"_parallelism={cores}",
        'cpu: "4"': f'cpu: "{cores}"',
        'cpus: "4"': f'cpus: "{cores}"',
        "4096Mi": f"{settings.memory_mib}Mi",
        "4096m": f"{settings.memory_mib}m",
        "storage: 10Gi": f"storage: {settings.storage_gib}Gi",
    }


def _ceil(number: int, unit: int) -> int:
    return -(-number // unit)
