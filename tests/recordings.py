"""What a recording of requests says of the run itself."""

from __future__ import annotations

from itertools import accumulate

from load_profiles.recording import Recording


def most_at_once(recording: Recording) -> int:
    """How many requests were under way together, at most."""
    steps = sorted([(at_s, 1) for at_s in recording.sent_s] + [(at_s, -1) for at_s in recording.done_s])
    return max(accumulate(step for _, step in steps))
