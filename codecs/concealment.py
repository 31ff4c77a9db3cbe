"""Waveform concealment of lost speech, in the spirit of ITU-T G.711 Appendix I."""

from .base import Pcm


class Concealment:
    """One loss: made when it begins from the samples heard last, dropped after `merge`."""

    def __init__(self, sample_rate: int, history: Pcm) -> None:
        raise NotImplementedError

    overlap: int
    """How many samples of the first good frame `merge` wants."""

    def conceal(self, samples: int) -> Pcm:
        """The next `samples` samples of the concealment."""
        raise NotImplementedError

    def merge(self, good: Pcm) -> Pcm:
        """The first samples after the loss, blended with the end of the concealment."""
        raise NotImplementedError
