"""Format parameters of Opus in SDP (RFC 7587 §6.1, §7): what each side would like to receive."""

from dataclasses import dataclass

BIT_RATE_MIN = 6000
BIT_RATE_MAX = 510000
"""bit/s, RFC 7587 §6.1 maxaveragebitrate."""


def parse(fmtp: str | None) -> dict[str, str]:
    """Parameters by lower-case name; a repeated name keeps its first value, a bare word has the value ''."""
    parameters: dict[str, str] = {}
    for part in (fmtp or "").split(";"):
        name, _, value = part.partition("=")
        name = name.strip().lower()
        if name:
            parameters.setdefault(name, value.strip())
    return parameters


def serialize(parameters: dict[str, str]) -> str:
    """As SDP writes them after the payload type."""
    return ";".join(f"{name}={value}" if value else name for name, value in parameters.items())


@dataclass(frozen=True, slots=True)
class OpusFmtp:
    """The parameters of RFC 7587 §6.1. One whose value is nonsense counts as absent, as unknown ones do."""

    maxplaybackrate: int = 48000
    """Hz; more is wasted on the receiver."""
    sprop_maxcapturerate: int = 48000
    """Hz; the sender's own source has no more."""
    maxaveragebitrate: int | None = None
    """bit/s that the receiver wants at most."""
    stereo: bool = False
    sprop_stereo: bool = False
    cbr: bool = False
    useinbandfec: bool = False
    usedtx: bool = False
    minptime: int = 3
    """ms."""

    @classmethod
    def parse(cls, fmtp: str | None) -> "OpusFmtp":
        """From the text after the payload type in `a=fmtp`, None when there is no such line."""
        given = parse(fmtp)

        def number(name: str, low: int, high: int) -> int | None:
            text = given.get(name, "")
            # Nine digits hold every legal value, and keep int() away from a flood of them.
            if not (text.isascii() and text.isdigit() and len(text) <= 9):
                return None
            return min(max(int(text), low), high)

        return cls(
            maxplaybackrate=number("maxplaybackrate", 8000, 48000) or 48000,
            sprop_maxcapturerate=number("sprop-maxcapturerate", 8000, 48000) or 48000,
            maxaveragebitrate=number("maxaveragebitrate", BIT_RATE_MIN, BIT_RATE_MAX),
            stereo=given.get("stereo") == "1",
            sprop_stereo=given.get("sprop-stereo") == "1",
            cbr=given.get("cbr") == "1",
            useinbandfec=given.get("useinbandfec") == "1",
            usedtx=given.get("usedtx") == "1",
            minptime=number("minptime", 3, 120) or 3,
        )
