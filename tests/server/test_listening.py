"""An address and keys are checked before anything listens."""

from __future__ import annotations

import pytest

from worker.errors import SettingsError
from worker.server.listening import bound, keys_of


def test_without_keys_only_this_machine_is_answered():
    """The sentence says what to set."""
    with pytest.raises(SettingsError, match="api_keys_file"):
        bound("0.0.0.0", 0, has_keys=False)
    with (
        bound("127.0.0.1", 0, has_keys=False) as listener,
        pytest.raises(SettingsError, match="cannot be listened on"),
    ):
        bound("127.0.0.1", listener.getsockname()[1], has_keys=False)


def test_a_file_of_keys_is_read_line_by_line():
    """Comments and empty lines are passed over."""
    assert keys_of(f"# keys\n\nann {'k' * 16}\n") == {"k" * 16: "ann"}
    for wrong in ("", "ann", "ann short", f"ann {'k' * 16}\nbob {'k' * 16}"):
        with pytest.raises(SettingsError, match="api_keys_file") as error:
            keys_of(wrong)
        assert "k" * 16 not in str(error.value)
