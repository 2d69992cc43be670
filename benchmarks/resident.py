"""`spool` with its peak of memory: `python -m benchmarks.resident FILE ARGUMENT ...`.

Runs the command line as `spool` does, and writes peak resident memory (MiB) and
seconds to FILE when it ends.  Standard output goes where the caller sends it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks import harness


def main() -> None:
    out, *arguments = sys.argv[1:]
    sys.argv = ["spool", *arguments]
    began, code = time.perf_counter(), 0
    try:
        from worker.cli import main as spool

        spool()
    except SystemExit as ended:
        code = ended.code or 0
    found = {"rss": harness.peak_rss_mib(), "seconds": time.perf_counter() - began}
    Path(out).write_text(json.dumps(found))
    sys.exit(code)


if __name__ == "__main__":
    main()
