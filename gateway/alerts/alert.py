"""An alert: what is wrong with whom, since when, why, and who owns it.

Times are RFC 3339 in UTC; identifiers are UUIDv7 and sort by time.
"""

from typing import Literal

import msgspec

ALERT_AGENT = "alert"
"""The agent in the record of a call that announces an alert. No `[agents.…]` may have this name: rules leave such calls
out, since a page that nobody answers must not raise another alert."""
Severity = Literal["page", "ticket"]
"""`page` wakes somebody; a `ticket` is for the morning."""
State = Literal["firing", "acknowledged", "resolved"]
CauseName = Literal["carrier", "host", "provider", "way_out", "echo", "unknown"]
"""Who is at fault: `carrier` (the network or phones before us: loss, jitter or silence in what we receive), `host`
(this machine was late), `provider` (the speech service was late or gone), `way_out` (the far end reports trouble with
what we sent), `echo` (the caller's side sends our own speech back)."""


class Cause(msgspec.Struct, frozen=True):
    """One cause, with what speaks for it."""

    name: CauseName
    share: float
    """Of the bad slices, how many it explains, 0 to 1."""
    evidence: list[str]
    """Sentences with figures: `loss 6.1 % in 14 of 16 bad slices, on trunk vonage alone`."""


class Verdict(msgspec.Struct, frozen=True):
    """Why the quality is bad, from what the gateway knows."""

    causes: list[Cause]
    """The largest share first; more than one when the trouble is mixed."""
    summary: str
    """One sentence: `the carrier or access network before us: …`, or `mixed: …`."""

    @property
    def mixed(self) -> bool:
        """True when no single cause explains it."""
        return len(self.causes) > 1


class Alert(msgspec.Struct, kw_only=True):
    """One alert from the moment it fires until it is resolved."""

    id: str
    rule: str
    """Which rule fired: `quality`, `one_way_audio`, `trunk_down`, …"""
    subject: str
    """What it is about: `trunk vonage`, `agent reception`, `gateway`."""
    trunk: str | None = None
    """The trunk, when it is about one: the telephone then goes over another."""
    trunks: list[str] = []
    """The same when it is about several."""
    severity: Severity
    state: State = "firing"
    summary: str
    """One sentence for a pager's display."""
    detail: list[str] = []
    """The figures behind it, a sentence each."""
    verdict: Verdict | None = None
    calls: list[str] = []
    """Identifiers of calls that show it, the newest first, ten at most."""
    started_at: str
    updated_at: str
    acknowledged_at: str | None = None
    acknowledged_by: str | None = None
    resolved_at: str | None = None

    def dedup_key(self, gateway: str) -> str:
        """The same for as long as the trouble is the same: no time in it (PagerDuty Events v2, at most 255)."""
        return f"{gateway}/{self.rule}/{self.subject}"[:255]
