"""Results out, in bounded memory: JSON Lines, CSV, Parquet, OpenAI Batch files.

Rows come from the store without their texts; each text is read in pieces and
written in pieces, so an answer of any length passes through without ever being
whole in memory (Parquet excepted, which says so).  What is written to a file
appears under its name only when it is complete.
"""

from __future__ import annotations

from worker.export import csv_file, jsonl, openai_batch, parquet
from worker.export.ahead import Ahead
from worker.export.columns import COLUMNS
from worker.export.files import whole_file
from worker.export.pieces import AsStored, Pieces, Texts, calls_of, text_of, write_json, write_line

__all__ = [
    "COLUMNS",
    "Ahead",
    "AsStored",
    "Pieces",
    "Texts",
    "calls_of",
    "csv_file",
    "jsonl",
    "openai_batch",
    "parquet",
    "text_of",
    "whole_file",
    "write_json",
    "write_line",
]
