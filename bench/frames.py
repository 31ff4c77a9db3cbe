"""What the frames of both directions carry, so that each can be recognised at the other end.

A G.711 frame passes the gateway bit-exact. The first six octets of each are numbers: the caller's are its call and the
frame's number, the agent's are its connection, its reply and the frame's number in it. The rest is speech-like noise,
so that levels and detectors have something to do.
"""

from random import Random

import numpy as np
from numpy.typing import NDArray

FRAME = 160
"""Octets of 20 ms G.711."""
TAG = 6
PATTERNS = 250
"""Distinct frames, 5 s; then they come again."""

CALLER_TAG = np.dtype([("call", ">u2"), ("frame", ">u4")])
AGENT_TAG = np.dtype([("connection", ">u2"), ("reply", ">u2"), ("frame", ">u2")])
SILENCE = 0xFFFF
"""What a frame of µ-law silence shows as its connection."""


def speech(seed: int) -> NDArray[np.uint8]:
    """PATTERNS frames of µ-law octets whose loudness rises and falls like syllables; the tags' place is zero."""
    random = Random(seed)
    frames = np.zeros((PATTERNS, FRAME), np.uint8)
    for index in range(PATTERNS):
        # exponent of the µ-law octet: 0 is loud, 7 near silence; half a second of speech, a short pause
        exponent = 7 if index % 30 >= 24 else random.randint(1, 4)
        row = [random.randrange(2) << 7 | exponent << 4 | random.randrange(16) for _ in range(FRAME)]
        frames[index] = np.array(row, np.uint8)
    frames[:, :TAG] = 0
    return frames
