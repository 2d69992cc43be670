"""One object a prompt, one prompt a line."""

from __future__ import annotations

import io

from tests.export.rows import Texts, failed, objects, row
from worker.export import COLUMNS, jsonl
from worker.records import Kind


def test_each_prompt_is_a_line_with_every_column():
    """Stable keys, in one order; text with line ends stays on its line."""
    out = io.StringIO()
    texts = Texts({(7, Kind.TEXT): ["a\n", "b\u2028"]})
    rows = [row(metadata={"k": 1}, messages=[{"role": "user"}]), failed(id=2)]
    assert jsonl.write(rows, texts, out, partial=False) == 2
    assert out.getvalue().count("\n") == 2
    first, second = objects(out.getvalue().replace("\u2028", "|"))
    assert tuple(first) == tuple(second) == COLUMNS
    assert (first["output"], first["metadata"]) == ("a\nb|", {"k": 1})
    assert (second["output"], second["error_code"]) == (None, "bad_request")
