"""How the lab's agent behaves, and what goes wrong with it."""

import msgspec


class Faults(msgspec.Struct, kw_only=True, frozen=True):
    """What goes wrong, in the first `sessions` sessions of a server."""

    sessions: int = 1_000_000
    refuse_status: int | None = None
    """Answer the upgrade with this HTTP status."""
    drop_after_s: float | None = None
    """Lose the connection so long after it was made."""
    drop_after_responses: int | None = None
    """Lose the connection after so many complete answers."""
    close_code: int | None = None
    """Close with this code instead of losing the connection."""
    garbage: bool = False
    """Send messages that are no events between those that are."""
    confirm_update: bool = True
    """Answer session.update."""
    expires_in_s: float | None = None
    """End the session so long after it was made, and say so in session.created (`expires_at`)."""
    reject_truncate: bool = False
    """Answer truncations with an error, as some self-hosted servers do."""
    rate_limited_responses: int = 0
    """So many responses fail by rate limit."""


class AgentOptions(msgspec.Struct, kw_only=True, frozen=True):
    """How the agent behaves."""

    api_key: str | None = None
    """The only key that is let in; without one, any."""
    script: tuple[str, ...] = ("greeting", "hours", "address", "wait", "goodbye:hang_up")
    """What each answer is: pieces of speech joined by `+` (one item each), then `:name` for a function to call.
    After the last it goes on with the second."""
    dialect: str = "ga"
    """`ga` or `beta`."""
    delta_ms: int = 100
    """Audio in one delta, ms."""
    speed: float = 10.0
    """Deltas are sent so many times faster than real time; 0 is all at once."""
    think_ms: float = 0.0
    """Time before an answer begins, ms."""
    talk: bool = False
    """For load: one endless answer at `speed`, from session.update on; turns are not detected."""
    keep_audio: bool = True
    """Keep the caller's octets and the times of all audio."""
    faults: Faults = Faults()
