"""The calling side of an INVITE session."""

from .session import InviteSession


class OutgoingSession(InviteSession):
    """A call from us. Its last event is `Rejected` when the INVITE was refused, else `Ended`."""

    role = "uac"

    def cancel(self, now: float) -> None:
        """Give up before the answer. CANCEL waits for the first provisional response (RFC 3261 §9.1); if a 2xx wins the
        race it is ACKed and ended with BYE. `Ended` follows when the far end is done. Ignored once answered."""
        raise NotImplementedError
