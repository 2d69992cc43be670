"""The shape of a dialect's frames, stated once and read in three ways.

A dialect declares the fields that it wants as a msgspec ``Struct``.  From that
one declaration come

* ``decode_lines``: the fast way, many frames in one call, strict about types;
* ``read``: the careful way, from a value that was parsed tolerantly; a field of
  another type than declared counts as absent, unless it is a ``Holder`` of output;
* ``keep``: what the skimmer has to keep of a frame that is too long to hold.

Whenever the fast way accepts a line, the careful way gives an equal frame; the
tests hold this.  Fields whose content matters (text) are declared ``Any`` and
judged by the dialect, so that output of an unexpected type is an error and not
silently absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from worker.errors import Malformed
from worker.records import Json
from worker.wire.framing.json_filter import Keep
from worker.wire.unicode import QUOTED_CHARS_MAX, clip

F = TypeVar("F", bound=msgspec.Struct)

_ABSENT: Any = object()
_DIGITS_MAX = 18  # of a number that is written as a string
_UNKNOWN = " unknown"  # no server calls a field so
_Reader = Callable[[Json], Any]


class Holder(msgspec.Struct, gc=False, kw_only=True):
    """A part of a frame that holds output: something else in its place is an error.

    A subclass that forbids unknown fields finds them in `unknown`, on the careful way.
    """

    unknown: Any = msgspec.field(default=None, name=_UNKNOWN)


class FrameSchema(Generic[F]):
    """Readers for one kind of frame."""

    __slots__ = ("_read", "decode_lines", "keep")

    def __init__(self, struct: type[F]) -> None:
        self.decode_lines = msgspec.json.Decoder(struct).decode_lines
        self._read = _struct_reader(struct)
        self.keep: Mapping[str, Keep] = _struct_keep(struct)

    def read(self, said: Mapping[str, Json]) -> F:
        """The frame in an object; never fails."""
        frame: F = self._read(said)
        return frame


def _struct_reader(struct: type[msgspec.Struct]) -> _Reader:
    fields = [
        (field.name, field.encode_name, _reader(field.type))
        for field in msgspec.structs.fields(struct)
    ]

    known = {key for _, key, _ in fields}
    holds_output, is_strict = issubclass(struct, Holder), _is_strict(struct)

    def read(said: Json) -> Any:
        if type(said) is not dict:
            return _misplaced(said) if holds_output else _ABSENT
        found = {
            name: value
            for name, key, reader in fields
            if key in said and (value := reader(said[key])) is not _ABSENT
        }
        if is_strict and (unknown := {key: said[key] for key in said if key not in known}):
            found["unknown"] = unknown
        return struct(**found)

    return read


def _is_strict(struct: type[msgspec.Struct]) -> bool:
    return struct.__struct_config__.forbid_unknown_fields


def _misplaced(said: Json) -> Any:
    """Nothing, unless it may be output in a form that nobody knows."""
    if not said:
        return _ABSENT
    raise Malformed(f"output of an unknown form: {clip(repr(said), QUOTED_CHARS_MAX)}")


def _reader(hint: Any) -> _Reader:
    hint = _without_none(hint)
    if hint is Any:
        return _as_it_is
    if get_origin(hint) is list:
        (element,) = get_args(hint)
        return _list_reader(_reader(element), holds_output=_holds_output(element))
    if hint is int:
        return _integer
    if issubclass(hint, msgspec.Struct):
        return _struct_reader(hint)
    return lambda said: said if type(said) is hint else _ABSENT


def _holds_output(hint: Any) -> bool:
    hint = _without_none(hint)
    return isinstance(hint, type) and issubclass(hint, Holder)


def _list_reader(element: _Reader, *, holds_output: bool) -> _Reader:
    def read(said: Json) -> Any:
        if type(said) is not list:
            return _misplaced(said) if holds_output else _ABSENT
        return [value for one in said if (value := element(one)) is not _ABSENT]

    return read


def _as_it_is(said: Json) -> Any:
    return said


def _integer(said: Json) -> Any:
    if type(said) is str and said.isdecimal() and len(said) <= _DIGITS_MAX:
        return int(said)
    if type(said) is float and said.is_integer():
        return int(said)
    return said if type(said) is int else _ABSENT


def _struct_keep(struct: type[msgspec.Struct]) -> dict[str, Keep]:
    return {field.encode_name: _keep(field.type) for field in msgspec.structs.fields(struct)}


def _keep(hint: Any) -> Keep:
    hint = _without_none(hint)
    if get_origin(hint) is list:
        hint = _without_none(get_args(hint)[0])
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and not _is_strict(hint):
        return _struct_keep(hint)
    return None


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in {Union, UnionType}:
        (hint,) = (option for option in get_args(hint) if option is not NoneType)
    return hint
