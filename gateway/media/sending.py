"""Is what we send received by anyone? Judged once a second from what comes back."""

from ...rtp.events import Address, FarEndReport

MISSED_CHECKS = 2
"""Checks in a row that must fail: one refused packet while the far end rebinds is no alarm."""


class SendWatch:
    """The send direction of an answered call. `check` is called once a second while audio is due to leave."""

    def __init__(self) -> None:
        self._errors = 0
        self._packets = 0
        self._missed = 0
        self._report: FarEndReport | None = None
        self._report_packets = 0
        self._unheard: str | None = None
        self.dead = False

    def check(
        self, destination: Address | None, packets: int, errors: int, far_end: FarEndReport | None
    ) -> tuple[bool, str] | None:
        """(dead, detail) when that changed, else None. `packets` and `errors` are totals."""
        sent, failed = packets - self._packets, errors - self._errors
        self._packets, self._errors = packets, errors
        problem = self._problem(destination, sent, failed, packets, far_end)
        self._missed = self._missed + 1 if problem else 0
        if problem and not self.dead and self._missed >= MISSED_CHECKS:
            self.dead = True
            return True, problem
        if not problem and self.dead:
            self.dead = False
            return False, f"audio reaches {_name(destination)} again"
        return None

    def pause(self) -> None:
        """Nothing is due to leave (hold): start over afterwards."""
        self._missed = 0

    def _problem(
        self, destination: Address | None, sent: int, failed: int, packets: int, far_end: FarEndReport | None
    ) -> str | None:
        if destination is None:
            return "the far end gave no address to send to, and no packet came to learn one from"
        if sent and failed * 2 >= sent:
            return f"{failed} of {sent} packets to {_name(destination)} were refused (port unreachable)"
        if far_end is not self._report:
            self._compare(destination, packets, far_end)
        return self._unheard

    def _compare(self, destination: Address, packets: int, far_end: FarEndReport | None) -> None:
        """A new report of the far end: did it receive anything of what was sent since its last one?"""
        before, self._report = self._report, far_end
        sent, self._report_packets = packets - self._report_packets, packets
        self._unheard = None
        if before is not None and far_end is not None and sent and far_end.highest_sequence == before.highest_sequence:
            self._unheard = f"the far end reports that none of {sent} packets to {_name(destination)} arrived"


def _name(address: Address | None) -> str:
    return f"{address[0]}:{address[1]}" if address else "nowhere"
