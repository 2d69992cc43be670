"""What a prompt was refused with says nothing of prompts once one that was refused so is answered."""

from math import inf

from worker.endpoints.refusals import CANARY, Refusals
from worker.errors import Refused

BAD = Refused("HTTP 400: field 'x' of request 17 is unknown", http_status=400)
SAME = Refused("HTTP 400: field 'x' of request 23 is unknown", http_status=400)
OTHER = Refused("HTTP 400: the prompt is too long", http_status=400)


def test_an_answer_disproves_the_words_and_no_others():
    """One replica of three is wrong: the prompt itself was not."""
    refusals = Refusals()
    refusals.note(1, BAD, since=0.0)
    assert not refusals.is_disproved(SAME)
    refusals.answered(1)
    assert refusals.is_disproved(SAME)
    assert not refusals.is_disproved(OTHER)


def test_the_answer_of_another_prompt_disproves_nothing():
    """A bad prompt among good ones stays bad."""
    refusals = Refusals()
    refusals.note(1, BAD, since=0.0)
    refusals.answered(2)
    assert not refusals.is_disproved(BAD)


def test_a_canary_is_never_wrong_itself():
    """It was refused in these words and is answered now."""
    refusals = Refusals()
    refusals.note(CANARY, BAD, since=inf)
    refusals.answered(CANARY)
    assert refusals.is_disproved(BAD)


def test_an_answer_since_the_first_of_two_equal_refusals_counts():
    """Unless the words differ, or the endpoint was not well at the first."""
    refusals = Refusals()
    refusals.note(1, BAD, since=5.0)
    assert refusals.since(1, SAME, sent_at=9.0) == 5.0
    assert refusals.since(1, OTHER, sent_at=9.0) == 9.0
    refusals.note(1, BAD, since=inf)
    assert refusals.since(1, SAME, sent_at=9.0) == 9.0
    assert refusals.since(2, SAME, sent_at=9.0) == 9.0


def test_only_so_many_prompts_are_remembered():
    """A queue of a million bad prompts takes no memory; the latest are there."""
    refusals = Refusals()
    for prompt_id in range(1, 2002):
        refusals.note(prompt_id, BAD, since=0.0)
    refusals.answered(1)
    assert not refusals.is_disproved(BAD)
    refusals.answered(2001)
    assert refusals.is_disproved(BAD)
