"""A caller on loopback: speaks µ-law lines, hears what comes back, and remembers both."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from ...codecs.g711 import ULAW
from ...rtp.ports import PortRange
from ...rtp.ring import AUDIO, Chunk
from ...rtp.session import MediaFormat, RtpSession
from ...rtp.transport import RtpTransport
from ...sip.events import Answered, Ended, Event, IncomingInvite, Rejected, ReOffer
from ...sip.offer_answer import AudioCodec, OfferAnswer
from ...sip.sdp import SessionDescription
from ...sip.session import InviteSession
from ..media.clock import MediaClock
from .trunk import LabTrunk

FRAME = 160
"""Samples and octets in 20 ms of G.711."""
SPEECH_DBOV = -45.0
"""Louder than this is somebody speaking: the lab's own lines are far above it, silence far below."""
QUIET_FRAMES = 25
"""So many quiet frames (0.5 s) in a row end what the agent says."""


class CallFailed(Exception):
    """The call did not come to where the script expected it."""


class LabCaller:
    """One phone. Drive it with `dial`, `hear`, `say`, `hang_up`; `heard` and `said` are µ-law octets from the answer on."""

    def __init__(self, trunk: LabTrunk, clock: MediaClock, ports: PortRange, number: str = "15550100") -> None:
        self.number = number
        self.said = bytearray()
        self.heard = bytearray()
        self.answered = asyncio.Event()
        self.ended = asyncio.Event()
        self.end_reason = ""
        self._trunk = trunk
        self._clock = clock
        self._session: InviteSession | None = None
        self._line: deque[bytes] = deque()
        self._incoming = bytearray()
        self._quiet = QUIET_FRAMES
        self._agent_spoke = 0
        self._changed = asyncio.Event()
        self._transport = RtpTransport.open(ports, "127.0.0.1")
        self._rtp = RtpSession(random.Random(), "lab-caller", MediaFormat(0, 0), time.monotonic())
        self._media = OfferAnswer([AudioCodec("PCMU", 8000, 1, 0)], random.Random())

    # The call

    async def dial(self, user: str, number: str, timeout: float = 20.0) -> None:
        """Call the gateway that registered as `user`; returns when it answers. Raises CallFailed."""
        self._media.bind("127.0.0.1", self._transport.local_port)
        self._session = self._trunk.call(user, number, self.number, self._media.create_offer().to_bytes(), self._on_event)
        await self._until(self.answered, timeout, "no answer")

    def take(self, event: IncomingInvite) -> None:
        """Answer a call that the gateway placed."""
        self._session = event.session
        self._trunk.adopt(event.session, self._on_event)
        self._media.bind("127.0.0.1", self._transport.local_port)
        now = time.monotonic()
        event.session.ring(now)
        answer, agreed = self._media.answer(SessionDescription.parse(event.session.remote_offer or b""))
        event.session.answer(answer.to_bytes(), now)
        self._start(agreed)

    def _on_event(self, event: Event) -> None:
        match event:
            case Answered(sdp=sdp):
                self._start(self._media.accept_answer(SessionDescription.parse(sdp or b"")))
            case ReOffer(sdp=sdp, session=session):
                answer, _ = self._media.answer(SessionDescription.parse(sdp or b""))
                session.accept_offer(answer.to_bytes(), time.monotonic())
            case Rejected(status=status, reason=reason):
                self._over(f"{status} {reason}")
            case Ended(reason=reason):
                self._over(reason)
            case _:
                return
