"""A row of any shape as the fields of a prompt, by the table in `keys`.

Spool's own names come first, then what data sets and request bodies call the same things. Where
two keys could be the prompt, the row is refused with a template that says which one is: a wrong
guess would be noticed after a night of answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

from worker.errors import InputError
from worker.ingest import conversation
from worker.ingest.keys import ALSO_DATA, USES, Use, known_as, misspelt, option_value

if TYPE_CHECKING:
    from worker.ingest.intake import Intake

BATCH_FIELDS = ("method", "url", "body", "params")
_ASKED = ("prompt", "messages")
_JOINED = ("instruction", "input", "context")  # Alpaca's and Dolly's, in this order
_AT_ODDS = ("instruction", "input", "inputs")  # beside a prompt, these are a part of the question
_COUNTS = ("n", "best_of")  # options of a request; in a table, n is a number of something else
_ANSWER = "output"
_ID_CHARS_MAX = 512


def fields_of(row: Mapping[str, Any], intake: Intake, *, checked: bool) -> dict[str, Any]:
    """The row sorted into the fields of a line; `checked` refuses keys that look misspelt.

    Raises:
        InputError: the row contradicts itself, or holds no prompt; reads on after its number.
    """
    sorting = _Sorting(row, intake)
    batch = intake.template is None and _is_batch_request(row)
    data = intake.taken.data  # most columns of most tables, seen on an earlier row
    for name, value in row.items():
        if value is None or name in sorting.used:
            continue
        if name in data:
            sorting.others[name] = value
        elif batch and name in BATCH_FIELDS:
            sorting.fields[name] = value
        else:
            sorting.take(name, value, checked=checked, batch=batch)
    if not batch:
        _ask(sorting)
    return sorting.finished()


def _is_batch_request(row: Mapping[str, Any]) -> bool:
    if "body" not in row and "params" not in row and "url" not in row:
        return False
    if isinstance(row.get("body"), Mapping):
        return True
    if isinstance(params := row.get("params"), Mapping):
        return "messages" in params
    url = row.get("url")
    return isinstance(url, str) and url.startswith("/") and not any(row.get(n) for n in _ASKED)


class _Sorting:
    """What has been made of a row so far."""

    def __init__(self, row: Mapping[str, Any], intake: Intake) -> None:
        self.row = row
        self.intake = intake
        self.taken = intake.taken
        self.used = set(intake.template.columns) if intake.template else set[str]()
        self.fields: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.asked: dict[str, tuple[str, Any]] = {}  # by the name in the table: key and value
        self.others: dict[str, Any] = {}
        if intake.id_column is not None:
            self.used.add(intake.id_column)
            if (custom_id := row.get(intake.id_column)) is None:
                column = intake.id_column
                raise InputError(f"has nothing in its column {column!r}, which --id-column names")
            self.fields["custom_id"] = str(custom_id)

    def take(self, name: str, value: Any, *, checked: bool, batch: bool) -> None:
        """Put one value where it belongs."""
        known = known_as(name)
        use = USES.get(known)
        if use is Use.OWN and not (self.intake.template and known in _ASKED):
            self._own(name, known, value)
        elif use in (Use.OWN, Use.PROMPT, Use.BESIDE, Use.CONVERSATION):
            if self.intake.template or batch:
                self.keep(name, value)
            else:
                self.asked[known] = (name, value)
        elif use is Use.OPTION and (checked or known not in _COUNTS):
            if batch:
                raise InputError(f'has "{name}" beside its body: put it into the body')
            self._option(name, known, value)
        elif use is Use.DROPPED:
            self.taken.note(name, str(use))
        elif not self._alias(name, use, value):
            meant = None if self.intake.template or batch else misspelt(name)
            if meant and checked:
                raise InputError(
                    f'has the unknown key "{name}"; did you mean {meant}? If it is data of your'
                    ' own, put it into "metadata"'
                )
            self.keep(name, value, meant)
            if use is None and not meant and name not in BATCH_FIELDS:
                self.taken.is_data(name)

    def keep(self, name: str, value: Any, meant: str | None = None) -> None:
        """Keep a value as metadata."""
        self.others[name] = value
        if meant:
            self.taken.note(name, f"metadata (did you mean {meant}?)")
        else:
            self.taken.kept(name)

    def alias(self, name: str, field: str, value: Any) -> None:
        """Take a key for a field that has another name."""
        self.fields[field] = value
        self.taken.note(name, field)

    def _own(self, name: str, known: str, value: Any) -> None:
        if known in _ASKED:
            self.asked[known] = (name, value)
        elif known == "metadata" and not isinstance(value, Mapping):
            self.others[name] = value
        elif known == "system" and isinstance(value, list):
            self._blocks(value)
        elif known not in self.fields:
            self.fields[known] = value
            if name != known:
                self.taken.note(name, known)

    def _blocks(self, blocks: list[Any]) -> None:
        """Keep Anthropic's system text, a list of blocks, as it is for who understands it."""
        endpoint = self.intake.endpoints.get(self.intake.endpoint or self.row.get("endpoint", ""))
        endpoint = endpoint or self.intake.endpoints.get("default")
        if endpoint and endpoint.dialect == "anthropic-messages":
            self.options["system"] = blocks
            return
        given = [each.get("text") if isinstance(each, Mapping) else None for each in blocks]
        texts = [text for text in given if isinstance(text, str)]
        if len(texts) < len(given):
            raise InputError("is wrong in system: expected a text, got a list of other blocks")
        self.fields["system"] = "\n\n".join(texts)

    def _alias(self, name: str, use: Use | None, value: Any) -> bool:
        """Take a key for a field, unless the row has that field or the value does not fit it."""
        if use is Use.ID and self.intake.id_column is None and self.row.get("custom_id") is None:
            whole = isinstance(value, float) and value.is_integer()
            text = str(int(value) if whole else value)
            plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
            if plain and 0 < len(text) <= _ID_CHARS_MAX:
                self.alias(name, "custom_id", text)
                return True
        elif use is Use.SYSTEM and isinstance(value, str) and self.row.get("system") is None:
            self.alias(name, "system", value)
            return True
        elif use is Use.OPTIONS and isinstance(value, Mapping):
            for key, each in value.items():
                self._add_option(name, key, each)
            self.taken.note(name, str(use))
            return True
        return False

    def _option(self, name: str, known: str, value: Any) -> None:
        if isinstance(value, float) and isnan(value):  # NaN: a gap of a table
            return
        fitting, fault = option_value(known, value)
        if fault and known in ALSO_DATA:
            self.keep(name, value)
            return
        if fault:
            raise InputError(f"is wrong in {name}: {fault}")
        self._add_option(name, known, fitting)
        self.taken.note(name, str(Use.OPTION))

    def _add_option(self, name: str, key: str, value: Any) -> None:
        given = self.row.get("options")
        for there in (self.options, given if isinstance(given, Mapping) else {}):
            if key in there and there[key] != value:
                raise InputError(f'has "{key}" twice, in "{name}" and elsewhere: keep one of them')
        self.options[key] = value

    def finished(self) -> dict[str, Any]:
        """The fields of a line."""
        template = self.intake.template
        if template:
            self.fields.update(template.fields(self.row))
        if self.options:
            given = self.fields.get("options")
            if given is None or isinstance(given, Mapping):  # else its own fault is told
                self.fields["options"] = {**(given or {}), **self.options}
        if self.others:
            self.fields["metadata"] = {**self.fields.get("metadata", {}), **self.others}
        return self.fields


def _ask(sorting: _Sorting) -> None:
    """Find what is asked among the values that could be it."""
    if sorting.intake.template:
        return
    asked = sorting.asked
    if len(asked) == 1 and isinstance(asked.get("prompt", ("", None))[1], str):
        name, text = asked["prompt"]
        sorting.fields["prompt"] = text
        if name != "prompt":
            sorting.taken.note(name, "prompt")
        return
    own = [known for known in (*_ASKED, "conversations", "conversation") if known in asked]
    if len(own) > 1:
        raise _unclear(sorting, own)
    if not own:
        _ask_by_words(sorting)
        return
    (known,) = own
    name, value = asked.pop(known)
    at_odds = [each for each in _AT_ODDS if _text(asked.get(each))]
    if known == "prompt" and at_odds:
        asked[known] = (name, value)
        raise _unclear(sorting, [*at_odds, known])
    _keep(sorting, asked)
    if USES[known] is Use.CONVERSATION:
        _converse(sorting, name, value)
    else:
        _question(sorting, name, known, value)


def _question(sorting: _Sorting, name: str, known: str, value: Any) -> None:
    """Take a prompt or messages; a prompt may be a list of messages."""
    turns = conversation.rows_of(value) if isinstance(value, (list, Mapping)) else ()
    if turns and all(isinstance(each, Mapping) for each in turns):
        if all("from" in each for each in turns):
            _converse(sorting, name, value)
            return
        value = conversation.without_gaps(list(turns))
        known = "messages"
    elif known != "messages" and len(turns) == 1:
        value = turns[0]
    if known in _ASKED and name == known:
        sorting.fields[known] = value
    else:
        sorting.alias(name, "messages" if known == "messages" else "prompt", value)


def _converse(sorting: _Sorting, name: str, value: Any) -> None:
    messages, answer = conversation.as_messages(name, value)
    sorting.alias(name, "messages", messages)
    if answer is not None:
        sorting.others.setdefault(conversation.REFERENCE, answer)
        kept = f"kept as metadata ({conversation.REFERENCE})"
        sorting.taken.count(f"with a last answer, which is not sent but {kept}")


def _ask_by_words(sorting: _Sorting) -> None:
    asked = sorting.asked
    full = [known for known in asked if _text(asked[known])]
    joined = [known for known in _JOINED if known in full]
    others = [known for known in full if known not in _JOINED]
    if "instruction" in full:
        if "text" in others and _ANSWER in sorting.row:
            others.remove("text")  # Alpaca's: instruction, input and output in one text
        if others:
            raise _unclear(sorting, [*joined, *others])
        parts = joined
    else:
        parts = full
        if len(full) > 1 or full == ["context"]:
            raise _unclear(sorting, full)
    if not parts:
        _ask_otherwise(sorting)
        return
    taken = [asked.pop(known) for known in parts]
    sorting.fields["prompt"] = "\n\n".join(value for _, value in taken)
    for name, _ in taken:
        sorting.taken.note(name, "prompt")
    _keep(sorting, {known: pair for known, pair in asked.items() if pair[1] != ""})


def _ask_otherwise(sorting: _Sorting) -> None:
    """Take the only list of messages, or say what is missing."""
    asked = sorting.asked
    lists = [known for known, (_, value) in asked.items() if isinstance(value, list) and value]
    if len(lists) == 1:
        name, value = asked.pop(lists[0])
        _keep(sorting, asked)
        _question(sorting, name, lists[0], value)
        return
    if "response" in sorting.row and "custom_id" in sorting.row:
        raise InputError("is an answer of a batch, not a request: add the file that was sent")
    for name, value in asked.values():
        if isinstance(value, str):
            raise InputError(f"has an empty {name}")
        raise InputError(f"is wrong in {name}: expected a text")
    there = ", ".join(list(sorting.row)[:8]) or "none"
    first = next((name for name in sorting.row if name.isidentifier()), "column")
    raise InputError(
        f"has no prompt (its keys: {there}): call one of them prompt, or say how to make prompts"
        f" with --template '{{{{ {first} }}}}'"
    )


def _keep(sorting: _Sorting, asked: Mapping[str, tuple[str, Any]]) -> None:
    for name, value in asked.values():
        sorting.keep(name, value)


def _text(pair: tuple[str, Any] | None) -> bool:
    return pair is not None and isinstance(pair[1], str) and bool(pair[1].strip())


def _unclear(sorting: _Sorting, known: Iterable[str]) -> InputError:
    """Two keys could be what is asked; the cure is a template of those that are texts."""
    names = [sorting.asked[each][0] for each in known]
    shown = " and ".join(f'"{name}"' for name in names)
    texts = [each for each in names if isinstance(sorting.row[each], str)]
    ordered = sorted(texts, key=lambda name: known_as(name) in ("question", "query", "prompt"))
    usable = [name for name in ordered if name.isidentifier()]
    template = " ".join(f"{{{{ {name} }}}}" for name in usable) or "{{ column }}"
    return InputError(
        f"has {shown}, and each could be the prompt: keep one, or say what the prompt is with"
        f" --template '{template}'"
    )
