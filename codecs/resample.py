"""Streaming conversion between sample rates."""

from .base import Pcm


class Resampler:
    """8, 16, 24 or 48 kHz to another of these. Chunks of any size; the cut between chunks never shows in the output.

    After n input samples exactly ceil(n · out_rate / in_rate) samples have come out; the sound in them is `latency`
    output samples late. `flush` gives the `latency` samples that are still inside, and starts afresh.
    """

    latency: int
    """Output samples by which the sound is delayed."""

    def __init__(self, in_rate: int, out_rate: int) -> None:
        """Rates in Hz. Raises CodecError for a rate other than these four."""
        raise NotImplementedError

    def process(self, pcm: Pcm) -> Pcm:
        """The output that these samples complete."""
        raise NotImplementedError

    def flush(self) -> Pcm:
        """The tail, `latency` samples."""
        raise NotImplementedError
