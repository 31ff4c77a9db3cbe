"""A caller and the lab's agent that talk, and whether each heard the other whole."""

from collections.abc import Sequence

from trunkline.gateway.lab.caller import LabCaller
from trunkline.gateway.lab.voice import speech

from .lab import LabGateway, eventually


def in_order(wanted: bytes, heard: bytes | bytearray, missing: int = 0) -> bool:
    """Whether every frame of a piece was heard, in order; `missing` may not have been. Silence between them is allowed:
    on a busy machine the phone's own clock may skip."""
    position = 0
    for start in range(0, len(wanted) - 159, 160):
        found = heard.find(wanted[start : start + 160], position)
        if found >= 0:
            position = found + 160
        else:
            missing -= 1
    return missing >= 0


async def converse(
    lab: LabGateway, caller: LabCaller, answer: Sequence[str], session: int = 0, *, late: int = 0
) -> None:
    """Ask, and hear the answer (pieces of speech) whole: both directions to the octet. `session` of the agent; `late`
    frames of the question may be given up, where the phone itself is kept from sending in time."""
    heard = lab.agent.sessions[session].audio
    question, expected = speech("caller_address", "pcmu"), b"".join(speech(piece, "pcmu") for piece in answer)
    already = len(heard)
    caller.received.clear()
    caller.say(question)
    await caller.said_all()
    await eventually(lambda: in_order(expected, caller.received), 20, "every octet of the answer to be heard", 0.1)
    assert in_order(question, heard[already:], late), "the agent did not hear every octet of the question"
