"""Of long events, the ends of texts are kept, and whatever else is output whole."""

from worker.wire.dialects.openai_responses_frames import KEEP_LESS, SHAPE
from worker.wire.framing.json_filter import END


def test_of_every_text_the_end_is_kept():
    """Where it stands as a repetition; arguments are kept whole."""
    assert KEEP_LESS["text"] is END
    assert KEEP_LESS["part"]["text"] is END
    assert KEEP_LESS["item"]["content"]["text"] is END
    assert KEEP_LESS["response"]["output"]["content"]["text"] is END
    assert KEEP_LESS["arguments"] is SHAPE.keep["arguments"] is None
    assert KEEP_LESS.keys() == SHAPE.keep.keys()
