"""Options that people expect where they are not, with the place where the same thing is said."""

from __future__ import annotations

from types import MappingProxyType

_ELSEWHERE = MappingProxyType(
    {
        ("run", "--concurrency"): "it is a setting: concurrency of the endpoint in spool.toml",
        ("run", "--model"): "it is a setting: model of the endpoint in spool.toml",
        ("run", "--base-url"): "it is a setting: base_url of the endpoint in spool.toml",
        (
            "run",
            "--batch",
        ): "it takes what is queued; `spool batch FILE -o OUT` runs one file",
        ("status", "--batch"): "`spool list --batch NAME` shows the prompts of one",
        ("wait", "--batch"): "write its name alone: `spool wait NAME`",
        ("add", "--file"): "name the file alone: `spool add FILE`",
    }
)
_TAKES_OPTIONS = ("add", "batch", "retry")


def meant(command: str, option: str) -> str:
    """Where what an unknown option asks for is said, or nothing."""
    if advice := _ELSEWHERE.get((command, option)):
        return advice
    from worker.ingest.keys import OPTION_KINDS, known_as

    name = known_as(option.removeprefix("--"))
    if command in _TAKES_OPTIONS and name in OPTION_KINDS:
        return f"it is an option of the request: --option {name}=VALUE"
    return ""
