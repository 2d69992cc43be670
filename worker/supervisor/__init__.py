"""One worker process: it claims, supervises its runs, commits, and keeps its lease."""
