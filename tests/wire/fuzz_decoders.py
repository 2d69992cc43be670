"""Coverage-guided fuzzing of all decoders; not part of the test run.

    pip install atheris
    python -m tests.wire.fuzz_decoders FOLDER -max_total_time=600

FOLDER keeps the interesting inputs, and the one that broke something; when it is empty, the
transcripts are put there to begin with.  An input is three bytes that choose a dialect, a limit and the size of the reads, then a
body.  Whatever the body is: no exception, one end, storable text, bounded memory, and the same
meaning in every lane and every cut.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

from tests.wire.corpus import SMALL
from tests.wire.reading import careful, cut, decoder, read
from worker.wire import DIALECTS

NAMES = sorted(DIALECTS)
LIMITS = (40, 200, 1000, 1_000_000)


def one_input(data: bytes) -> None:
    """What has to hold for any bytes."""
    if len(data) < 3:
        return
    name = NAMES[data[0] % len(NAMES)]
    limit = LIMITS[data[1] % len(LIMITS)]
    body, size = data[3:], data[2] + 1
    source = decoder(name, max_frame_bytes=limit)
    for piece in (pieces := cut(body, range(size, len(body), size))):
        source.feed(piece)
        assert source.held_bytes <= 2 * limit + 2048, source.held_bytes
    source.close()
    expected = read(careful(name, max_frame_bytes=limit), [body]).sameness()
    assert read(decoder(name, max_frame_bytes=limit), [body]).sameness() == expected
    assert read(decoder(name, max_frame_bytes=limit), pieces).sameness() == expected


def seeds() -> list[bytes]:
    """The transcripts as inputs, each with wide and with narrow reads."""
    return [
        bytes([NAMES.index(case.dialect), 3, size]) + case.body
        for case in SMALL
        for size in (255, 6)
    ]


def instrument(atheris: Any) -> int:
    """Let the engine see the branches of the decoders, and of nothing else: four times as fast."""
    ours = [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType) and str(each.__module__).startswith("worker.wire")
    ]
    for function in ours:
        atheris.instrument_func(function)
    return len(ours)


def main(arguments: list[str]) -> None:
    """Fuzz until the time is over or something is found."""
    atheris = import_module("atheris")
    folders = [Path(argument) for argument in arguments[1:] if not argument.startswith("-")]
    for folder in folders[:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds() if not any(folder.iterdir()) else []):
            (folder / f"seed-{number}").write_bytes(seed)
        arguments = [*arguments, f"-artifact_prefix={folder}/"]
    instrument(atheris)
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
