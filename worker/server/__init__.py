"""`spool serve`: the interfaces that programs already speak, in front of the queue.

The server writes prompts and reads rows; a worker streams the answers.  It keeps nothing in memory
that it could not read again, so several of them share one PostgreSQL, and each may be killed.
"""
