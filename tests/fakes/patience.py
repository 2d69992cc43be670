"""How long a test waits for what has to happen: until it would be called a hang, not a failure.

A verdict may not depend on how fast the machine is.  So nothing that is expected has a
shorter limit than this one, which only ends a test that would wait for ever.
"""

from __future__ import annotations

HANG_SECONDS = 240.0
