"""The E-model for packet calls: ITU-T G.107 (narrowband), G.107.1 (wideband), G.107.2 (fullband).

Every scale rates alike, R = base - Idd - Ie,eff, with constants of its own; a score carries the scale it is on.
MOS follows from R by the one cubic of G.107 Annex B, R divided by the scale's stretch first.
"""

from dataclasses import dataclass
from enum import StrEnum

from .transmission import Transmission, delay_impairment


class Scale(StrEnum):
    """Which E-model a score is of. Scores of different scales are never compared or averaged."""

    NARROWBAND = "nb"
    WIDEBAND = "wb"
    FULLBAND = "fb"


@dataclass(frozen=True, slots=True)
class _Constants:
    base: float
    """R of a call without impairment."""
    loss_ceiling: float
    """Ie,eff at total loss of a codec without any concealment."""
    stretch: float
    """R of this scale over R of the narrowband scale."""
    bursts: bool
    """Whether BurstR is part of this Recommendation's Ie,eff."""


_CONSTANTS = {
    # G.107 §7.7 rounds what its own default values give.
    Scale.NARROWBAND: _Constants(round(Transmission().r_factor(), 1), 95.0, 1.0, True),
    # G.107.1 eq. 7-15 has the narrowband 95 and no BurstR.
    Scale.WIDEBAND: _Constants(129.0, 95.0, 1.29, False),
    Scale.FULLBAND: _Constants(148.0, 132.0, 1.48, True),
}


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a codec costs: Ie and Bpl on its scale, and where the figures are from."""

    codec: str
    ie: float
    """Equipment impairment without loss."""
    bpl: float
    """Robustness against loss: the greater the better."""
    scale: Scale
    basis: str
    """`G.113 App I` where the figures are published by ITU-T, `estimate` where no Recommendation has them."""
    source: str
    """The publication."""


@dataclass(frozen=True, slots=True)
class Score:
    """One rating."""

    r_factor: float
    """0 to the base of the scale: 93.2, 129 or 148."""
    mos: float
    """1 to 4.5, on `scale`."""
    scale: Scale
    basis: str
    """As in the codec's Impairment."""


_G711_SOURCE = "ITU-T G.113 Appendix I, G.711 with G.711 Appendix I concealment"
_OPUS_SOURCE = "Alahmadi et al., ACM TOMM 2021, doi 10.1145/3458751: Opus superwideband VBR, random loss"

# bit/s: Ie, Bpl on the fullband scale
_OPUS = {
    14000: (38.1, 16.5),
    16000: (30.2, 11.8),
    19000: (23.8, 10.7),
    22000: (20.2, 10.5),
    25000: (20.2, 11.3),
    28000: (18.5, 10.6),
    31000: (16.8, 10.4),
    34000: (14.8, 10.1),
    37000: (12.1, 10.4),
    40000: (10.7, 9.8),
}
_OPUS_TYPICAL = 28000


def impairment(codec: str, bit_rate: int | None = None) -> Impairment | None:
    """The figures for an SDP encoding name in any case; None when nobody published any.

    `bit_rate`, bit/s, matters to Opus: the row at or below it counts, 28 kbit/s when it is not known.
    """
    name = codec.lower()
    if name in ("pcmu", "pcma"):
        return Impairment(name, 0.0, 25.1, Scale.NARROWBAND, "G.113 App I", _G711_SOURCE)
    if name == "opus":
        known = _OPUS_TYPICAL if bit_rate is None else bit_rate
        row = max((rate for rate in _OPUS if rate <= known), default=min(_OPUS))
        ie, bpl = _OPUS[row]
        return Impairment(name, ie, bpl, Scale.FULLBAND, "estimate", _OPUS_SOURCE)
    return None


def base(scale: Scale) -> float:
    """R of a call without any impairment."""
    return _CONSTANTS[scale].base


def idd(delay_ms: float, scale: Scale = Scale.NARROWBAND) -> float:
    """What a one-way, mouth-to-ear delay costs on this scale.

    G.107.2 stretches the narrowband curve by 1.48; the wideband curve is stretched by 1.29 likewise, which is our
    reading: its own text was not at hand.
    """
    return delay_impairment(delay_ms) * _CONSTANTS[scale].stretch


def ie_eff(impairment: Impairment, ppl: float, burst_r: float = 1.0) -> float:
    """Ie,eff: what the codec and the loss cost together (G.107 eq. 7-29 and its likes).

    `ppl` is percent of packets lost or discarded. `burst_r` under 1 (loss more even than random) counts as 1.
    """
    constants = _CONSTANTS[impairment.scale]
    ppl = min(max(ppl, 0.0), 100.0)
    divisor = max(burst_r, 1.0) if constants.bursts else 1.0
    return impairment.ie + (constants.loss_ceiling - impairment.ie) * ppl / (ppl / divisor + impairment.bpl)


def mos(r_factor: float, scale: Scale = Scale.NARROWBAND) -> float:
    """Mean opinion score of R, 1 to 4.5 (G.107 Annex B; G.107.1 Annex A; G.107.2)."""
    r = r_factor / _CONSTANTS[scale].stretch
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    # The cubic dips under 1 below R = 6.5.
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def rate(impairment: Impairment, ie_effective: float, delay_cost: float = 0.0) -> Score:
    """The score of an Ie,eff and an Idd that are already known (means over a call, for instance)."""
    r = max(0.0, _CONSTANTS[impairment.scale].base - ie_effective - delay_cost)
    return Score(r, mos(r, impairment.scale), impairment.scale, impairment.basis)


def score(impairment: Impairment, ppl: float, burst_r: float = 1.0, delay_ms: float = 0.0) -> Score:
    """Rate a stream: `ppl` percent lost or discarded, `burst_r` ≥ 1, `delay_ms` one way, mouth to ear.

    Total loss is R 0 and MOS 1: the formula still sees something in it, but there is nothing left to listen to.
    """
    return rate(impairment, impaired(impairment, ppl, burst_r), idd(delay_ms, impairment.scale))


def impaired(impairment: Impairment, ppl: float, burst_r: float = 1.0) -> float:
    """Ie,eff, and at total loss the whole base of the scale."""
    if ppl >= 100:
        return max(_CONSTANTS[impairment.scale].base, ie_eff(impairment, ppl, burst_r))
    return ie_eff(impairment, ppl, burst_r)
