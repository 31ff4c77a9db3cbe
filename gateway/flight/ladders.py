"""The SIP messages of all calls, in bounded memory, by Call-ID.

Anybody may send an INVITE, so messages that belong to no call of ours have a small room of their own, in which the
newest push out the oldest. A call takes its messages over when it begins, and keeps them while it lives; those of the
last calls stay for a while.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Sequence

from .ladder import SipMessage

MESSAGES_MAX = 200
"""Of one call."""
OCTETS_MAX = 128 * 1024
"""Of one call."""
FIRST = 20
"""The first messages of a call stay, whatever comes after: how it began is asked most."""
STRANGERS_MAX = 300
STRANGERS_OCTETS_MAX = 4 << 20
ENDED_MAX = 200
ENDED_OCTETS_MAX = 8 << 20

_CALL_ID = re.compile(rb"\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]+)", re.IGNORECASE)
_CALL_ID_MAX = 256


def sip_call_id(data: bytes) -> bytes | None:
    """The Call-ID of a message (RFC 3261 section 20.8), None when there is none."""
    end = data.find(b"\r\n\r\n")
    found = _CALL_ID.search(data, 0, end if end >= 0 else len(data))
    return found[1].rstrip()[:_CALL_ID_MAX] if found is not None else None


class Ladder:
    """The messages of one Call-ID."""

    __slots__ = ("_first", "_last", "dropped", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self.dropped = 0
        """Messages that had to make room."""
        self._first: list[SipMessage] = []
        self._last: deque[SipMessage] = deque()

    def add(self, message: SipMessage) -> int:
        """By how many octets the ladder has grown."""
        before = self.octets
        size = len(message.data)
        if size > OCTETS_MAX:
            self.dropped += 1
            return 0
        if not self._last and len(self._first) < FIRST and self.octets + size <= OCTETS_MAX // 2:
            self._first.append(message)
        else:
            self._last.append(message)
        self.octets += size
        while self._last and (self.octets > OCTETS_MAX or len(self._first) + len(self._last) > MESSAGES_MAX):
            self.octets -= len(self._last.popleft().data)
            self.dropped += 1
        return self.octets - before

    @property
    def messages(self) -> Sequence[SipMessage]:
        """Oldest first."""
        return [*self._first, *self._last]


class Ladders:
    """Every ladder. Calls are known by their own identifier, once `bind` has told which Call-ID is theirs."""

    def __init__(self) -> None:
        self._by_sip: dict[bytes, Ladder] = {}
        """Those of calls that live or were among the last."""
        self._calls: dict[str, bytes] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        """Octets, the first that ended first."""
        self._ended_octets = 0
        self._strangers: OrderedDict[bytes, Ladder] = OrderedDict()
        self._strangers_octets = 0

    @property
    def octets(self) -> int:
        """Of all messages."""
        return self._strangers_octets + sum(ladder.octets for ladder in self._by_sip.values())

    def add(self, call_id: bytes, message: SipMessage) -> None:
        """One message with this Call-ID."""
        ladder = self._by_sip.get(call_id)
        if ladder is not None:
            ladder.add(message)
            return
        stranger = self._strangers.get(call_id)
        if stranger is None:
            stranger = self._strangers[call_id] = Ladder()
        self._strangers_octets += stranger.add(message)
        while len(self._strangers) > STRANGERS_MAX or self._strangers_octets > STRANGERS_OCTETS_MAX:
            _, oldest = self._strangers.popitem(last=False)
            self._strangers_octets -= oldest.octets

    def bind(self, call: str, call_id: bytes) -> None:
        """The messages with this Call-ID are those of `call`."""
        if call in self._calls:
            return
        self._calls[call] = call_id
        stranger = self._strangers.pop(call_id, None)
        if stranger is not None:
            self._strangers_octets -= stranger.octets
        self._by_sip.setdefault(call_id, stranger or Ladder())

    def ended(self, call: str) -> None:
        """The call is over: its messages stay until others need the room."""
        ladder = self.of(call)
        if ladder is None or call in self._ended:
            return
        self._ended[call] = ladder.octets
        self._ended_octets += ladder.octets
        while len(self._ended) > ENDED_MAX or self._ended_octets > ENDED_OCTETS_MAX:
            oldest, octets = self._ended.popitem(last=False)
            self._ended_octets -= octets
            self._by_sip.pop(self._calls.pop(oldest), None)

    def of(self, call: str) -> Ladder | None:
        """None when nothing is here of it."""
        call_id = self._calls.get(call)
        return self._by_sip.get(call_id) if call_id is not None else None
