"""File < environment < flags, checked before anything starts, every fault at once.

Each layer is read on its own and says only what somebody wrote: what is unset
in a layer falls through to the one below, and defaults come last.  The merged
tree is validated; what fails is noted and taken out, so that the rest can be
checked as well, and the person mends one list instead of one fault at a time.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from worker.errors import SettingsError
from worker.records import Endpoint
from worker.settings.endpoints import EndpointTable
from worker.settings.faults import Origins, SettingsProblem, leaves, translated
from worker.settings.faults import Path as Key
from worker.settings.hints import hints
from worker.settings.model import Settings, Values, Written
from worker.suggest import nearest

DEFAULT_FILE = "spool.toml"
ENV_PREFIX = "SPOOL_"
ENV_DELIMITER = "__"
CONFIG_VARIABLE = "SPOOL_CONFIG"
_LIKENESS_OF_VARIABLES = 0.85  # of 1: they share a prefix, and others may own one of that prefix
DATABASE_SCHEMES = ("sqlite:", "postgresql:", "postgres:", "postgresql+psycopg:")

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with what `spool config` and `spool doctor` tell about them.

    Attributes:
        file: the file that was read, None if there was none.
        hints: what is allowed but probably a mistake, a sentence each.
        missing_keys: endpoint name -> why its API key could not be read.
    """

    settings: Settings
    origins: Origins
    file: Path | None
    hints: tuple[str, ...]
    missing_keys: Mapping[str, str]

    def check_keys(self) -> None:
        """Raise SettingsError if a key is missing: for those who need the keys after all."""
        if faults := _key_faults(self.missing_keys, self.origins):
            raise SettingsError(_told(faults))


def load(
    config: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    keys_required: bool = True,
) -> Settings:
    """The settings of this process.

    Args:
        config: a file that must exist; None takes `spool.toml` of the working directory, if any.
        overrides: settings given as flags, by name; None values are not set.
        keys_required: False takes a key that is missing for none, for who talks to no endpoint.

    Raises:
        SettingsError: naming every fault with its file, its key and its cure.
    """
    return load_all(config, overrides=overrides, keys_required=keys_required).settings


def load_all(
    config: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    keys_required: bool = False,
) -> Loaded:
    """As `load`, with the story of each value; missing keys are listed unless they are required."""
    origins = Origins()
    faults: list[SettingsProblem] = []
    file, tree = _file_layer(config, origins)
    environment, env_hints = _environment_layer(tree, origins, faults)
    merged = _merged(_merged(tree, environment), _flag_layer(overrides or {}, origins))
    written = _validated(merged, origins, faults)
    faulty = {fault.where for fault in faults}
    faults += [fault for fault in _cross_checks(written, origins) if fault.where not in faulty]
    endpoints, missing = _resolved(written)
    if keys_required:
        faults += _key_faults(missing, origins)
    if faults:
        raise SettingsError(_told(faults))
    settings = Settings(
        **{name: getattr(written, name) for name in Values.model_fields}, endpoints=endpoints
    )
    return Loaded(
        settings, origins, file, (*env_hints, *hints(settings.database_url, endpoints)), missing
    )


def _key_faults(missing: Mapping[str, str], origins: Origins) -> list[SettingsProblem]:
    return [
        SettingsProblem(f"{origins.name(('endpoints', name))}:", why)
        for name, why in missing.items()
    ]


def _told(faults: list[SettingsProblem]) -> str:
    if len(faults) == 1:
        return str(faults[0])
    return "\n".join([f"{len(faults)} settings are wrong:", *(f"  {fault}" for fault in faults)])


def _file_layer(config: Path | None, origins: Origins) -> tuple[Path | None, Tree]:
    path = config or Path(DEFAULT_FILE)
    try:
        # Editors on Windows begin a file with a mark, which is not TOML.
        tree = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        if config is None:
            return None, {}
        raise SettingsError(
            f"{config} does not exist: check --config, or write one with"
            f" `spool config --defaults > {config}`"
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    for key, _ in leaves(tree):
        origins.record("file", key, f"{path}: {'.'.join(key)}")
    return path, tree


class _Variables(Written, BaseSettings):
    """The shape of `Written`, as pydantic-settings wants it for reading variables."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        # `SPOOL_X=` in a compose file means "not set", as it does for most programs.
        env_ignore_empty=True,
    )


class _Environment(EnvSettingsSource):
    """pydantic's reader of variables, but for JSON that is broken: validation will report that."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _environment_layer(
    below: Tree, origins: Origins, faults: list[SettingsProblem]
) -> tuple[Tree, list[str]]:
    tree: Tree = _Environment(_Variables)()
    tables = tree.get("endpoints")
    if isinstance(tables, dict):
        known = {_folded(name): name for name in below.get("endpoints", {})}
        tree["endpoints"] = {known.get(_folded(name), name): at for name, at in tables.items()}
    for key, _ in leaves(tree):
        origins.record("env", key, ENV_PREFIX + _folded(ENV_DELIMITER.join(key)).upper())
    return tree, _unknown_variables(_merged(below, tree), faults)


def _folded(name: str) -> str:
    """Endpoint names as variables can spell them: no case, no dash, no dot."""
    return name.lower().replace("-", "_").replace(".", "_")


def _unknown_variables(tree: Tree, faults: list[SettingsProblem]) -> list[str]:
    """Misspelt variables are faults; others may belong to somebody else and are only hinted at.

    A Kubernetes service called `spool` puts SPOOL_PORT and SPOOL_SERVICE_HOST into every pod, and
    an api_key_env may be called anything.
    """
    known = [f"{ENV_PREFIX}{name}".upper() for name in Written.model_fields]
    tables = tree.get("endpoints", {})
    key_names = {
        str(table["api_key_env"])
        for table in (tables.values() if isinstance(tables, dict) else ())
        if isinstance(table, dict) and "api_key_env" in table
    }
    found = []
    for name in sorted(os.environ):
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or name in key_names or upper == CONFIG_VARIABLE:
            continue
        if upper in known or upper.startswith(f"{ENV_PREFIX}ENDPOINTS{ENV_DELIMITER}"):
            continue
        close = nearest(upper, known, likeness=_LIKENESS_OF_VARIABLES)
        if close:
            faults.append(SettingsProblem(name, f"is not a setting; did you mean {close}?"))
        else:
            found.append(f"the environment variable {name} is not a setting of Spool")
    return found


def _flag_layer(overrides: Mapping[str, Any], origins: Origins) -> Tree:
    tree = {name: value for name, value in overrides.items() if value is not None}
    for key, _ in leaves(tree):
        shown = key[-1] if key[0] == "endpoints" else ".".join(key)
        origins.record("flag", key, "--" + shown.replace("_", "-"))
    return tree


def _merged(below: Any, above: Any) -> Any:
    """Tables are merged key by key; anything else above replaces what is below."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merged(below.get(key), value) for key, value in above.items()}


def _validated(tree: Tree, origins: Origins, faults: list[SettingsProblem]) -> Written:
    """The tree as settings; what is wrong is noted, taken out, and the rest is tried again."""
    while True:
        try:
            return Written.model_validate(tree)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = tuple(str(part) for part in detail["loc"])
                faults.append(SettingsProblem(origins.name(path), translated(detail, _known(path))))
                tree = _without(tree, path)


def _known(path: Key) -> list[str]:
    inside = path[0] == "endpoints" and len(path) > 1
    return list(EndpointTable.model_fields if inside else Written.model_fields)


def _without(tree: Tree, path: Key) -> Tree:
    key, *rest = path
    kept = tree.get(key)
    if rest and isinstance(kept, dict):
        return tree | {key: _without(kept, tuple(rest))}
    return {name: value for name, value in tree.items() if name != key}


def _cross_checks(written: Written, origins: Origins) -> Iterable[SettingsProblem]:
    """What one setting says about another, and what its type alone cannot say."""
    if not written.database_url.startswith(DATABASE_SCHEMES):
        yield SettingsProblem(
            origins.name(("database_url",)),
            "must begin with sqlite:/// or postgresql://",
        )
    for small, large in (
        ("flush_bytes", "stream_buffer_bytes"),
        ("stream_buffer_bytes", "worker_buffer_bytes"),
    ):
        if (least := getattr(written, small)) > (most := getattr(written, large)):
            yield SettingsProblem(
                origins.name((small,)),
                f"is {least} bytes, more than {large} ({most} bytes): lower it or raise {large}",
            )
    if not written.endpoints:
        yield SettingsProblem(
            origins.name(("endpoints",)), "is empty: name at least one, such as [endpoints.default]"
        )
    for name, table in written.endpoints.items():
        for key, what in table.problems(name):
            path = ("endpoints", name, key) if key else ("endpoints", name)
            yield SettingsProblem(origins.name(path), what)


def _resolved(written: Written) -> tuple[dict[str, Endpoint], dict[str, str]]:
    endpoints, missing = {}, {}
    for name, table in written.endpoints.items():
        key = None
        try:
            key = table.key(os.environ)
        except SettingsError as error:
            missing[name] = error.message
        endpoints[name] = table.resolved(name, api_key=key)
    return endpoints, missing
