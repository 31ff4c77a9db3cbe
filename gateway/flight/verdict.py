"""Which calls are worth keeping."""

from ..media.slices import GOOD_FROM
from ..record import CallRecord, Received, Sent

KEEP_ALL, KEEP_BAD, KEEP_NONE = "all", "bad", "none"


def reasons_to_keep(record: CallRecord) -> list[str]:
    """Why a call is bad or failed, by its record; empty for one that went well. A caller who hangs up is no failure,
    but one who never got through is."""
    if record.answered_at is None:
        return [f"not answered: {record.sip_status or 'no status'} {record.end_reason or ''}".rstrip()]
    reasons: list[str] = []
    if record.ended_by in ("provider", "gateway", "trunk"):
        reasons.append(f"ended by {record.ended_by}: {record.end_reason}")
    slices = record.timeline.slices
    for name, part, bad, dead in (
        ("received", record.media.received, sum(it.received.bad for it in slices), _dead(record, "received")),
        ("sent", record.media.sent, sum(it.sent.bad for it in slices), _dead(record, "sent")),
    ):
        if bad:
            reasons.append(f"{name}: {bad} bad slice{'' if bad == 1 else 's'} of {len(slices)}")
        elif low(part):
            reasons.append(f"{name}: MOS fell to {part.mos_min}")
        if dead:
            reasons.append(f"{name}: dead")
    if any(moment.kind == "reconnected" for moment in record.timeline.moments):
        reasons.append("speech service lost and regained")
    return reasons


def keep_leg(keep: str, record: CallRecord) -> str:
    """What CloseLeg says of the leg's ring: `all` to hand it over, `bad` to hand it over if its media were bad (the
    last slice is not here yet), `none`."""
    return KEEP_ALL if keep == KEEP_BAD and reasons_to_keep(record) else keep


def _dead(record: CallRecord, direction: str) -> bool:
    return any(alarm.get("direction") == direction and alarm.get("dead") for alarm in record.alarms)


def low(part: Received | Sent) -> bool:
    """Whether the worst score of a direction is that of a bad slice."""
    return part.mos_min is not None and part.mos_min < GOOD_FROM
