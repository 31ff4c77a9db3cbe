"""The E-model: ITU-T G.107 (narrowband), G.107.1 (wideband), G.107.2 (fullband)."""

from dataclasses import dataclass
from enum import StrEnum


class Scale(StrEnum):
    """Which E-model a score is of. Scores of different scales are never compared or averaged."""

    NARROWBAND = "nb"
    WIDEBAND = "wb"
    FULLBAND = "fb"


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a codec costs: Ie and Bpl on its scale, and where the figures are from."""

    codec: str
    ie: float
    bpl: float
    scale: Scale
    basis: str
    """Where the figures are published, or `estimate …` where no Recommendation has them."""


@dataclass(frozen=True, slots=True)
class Score:
    """One rating."""

    r_factor: float
    mos: float
    """1 to 4.5, on `scale`."""
    scale: Scale
    basis: str


def impairment(codec: str, bit_rate: int | None = None) -> Impairment | None:
    """The figures for an SDP encoding name (`bit_rate` in bit/s where it matters), None when nobody published any."""
    raise NotImplementedError


def score(impairment: Impairment, ppl: float, burst_r: float = 1.0, delay_ms: float = 0.0) -> Score:
    """Rate a stream: `ppl` percent lost or discarded, `burst_r` ≥ 1, `delay_ms` one way, mouth to ear."""
    raise NotImplementedError
