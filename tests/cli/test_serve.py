"""`spool serve` refuses what would open the queue to others, in one sentence."""

from __future__ import annotations


def test_an_open_address_needs_keys(spool, here):
    """Nothing listens then."""
    spool("migrate")
    spool("serve", "--host", "0.0.0.0").fails("set api_keys_file", code=2)
    spool("serve", "--api-keys-file", "none.txt").fails("cannot be read", code=2)
