"""The states of an INVITE session, and what our side can do in one."""

import enum

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"


class SessionState(enum.Enum):
    """Life of an INVITE session."""

    CALLING = "calling"
    """Outgoing: INVITE sent, nothing came back."""
    PROCEEDING = "proceeding"
    """A provisional response was sent or received, or (incoming) nothing yet."""
    CANCELLING = "cancelling"
    """Outgoing: we gave up, the final response is awaited."""
    ANSWERED = "answered"
    """Incoming: 2xx sent, ACK awaited."""
    ESTABLISHED = "established"
    """2xx and ACK passed."""
    ENDED = "ended"
