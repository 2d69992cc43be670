"""A batch whose every prompt is refused goes on one by one; the canary cannot see everything."""

from __future__ import annotations

from worker.endpoints.brake import PROMPTS_BELIEVED, SECONDS_MAX, Brake


def held_brake(batch_id=7) -> Brake:
    brake = Brake()
    told = [
        brake.refused(batch_id, prompt_id, "bad_request", "no", at=0.0)
        for prompt_id in range(PROMPTS_BELIEVED)
    ]
    assert told == [False] * (PROMPTS_BELIEVED - 1) + [True]
    return brake


def test_different_prompts_in_a_row_hold_their_batch():
    """The same prompt twice, another code or an answer between do not."""
    brake = Brake()
    for _ in range(PROMPTS_BELIEVED):
        brake.refused(7, 1, "bad_request", "no", at=0.0)
    for prompt_id in range(PROMPTS_BELIEVED - 1):
        brake.refused(8, prompt_id, "bad_request", "no", at=0.0)
        brake.refused(9, prompt_id, "bad_request", "no", at=0.0)
    brake.refused(8, 99, "server_error", "no", at=0.0)
    assert not brake.answered(9)
    brake.refused(9, 99, "bad_request", "no", at=0.0)
    assert brake.held() == {}


def test_one_prompt_at_a_time_finds_out_at_a_distance_that_grows_to_a_minute():
    """Other batches are claimed meanwhile."""
    brake = held_brake()
    assert brake.claimable(set(), at=0.5) == ({7}, False)
    at, waits = 0.0, []
    for prompt_id in range(100, 110):
        waits.append(brake.held()[7].next_at - at)
        at = brake.held()[7].next_at
        assert brake.claimable(set(), at=at) == (frozenset(), True)
        assert brake.claimable({7}, at=at) == ({7}, False), "one is under way"
        assert not brake.refused(7, prompt_id, "bad_request", "no", at=at)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert waits[-1] == SECONDS_MAX


def test_one_answer_releases_it():
    """Whatever came before."""
    brake = held_brake()
    assert brake.answered(7)
    assert not brake.answered(7)
    assert brake.claimable(set(), at=0.0) == (frozenset(), False)
