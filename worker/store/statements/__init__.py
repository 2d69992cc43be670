"""The SQL statements, one verb a file."""
