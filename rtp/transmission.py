"""The narrowband E-model in full: ITU-T G.107 clause 3, every term of R = Ro - Is - Id - Ie,eff + A but the codec's.

Its default values give the base from which a packet call is rated (`emodel.score`): a connection without room noise,
level or echo of its own to report, of which the codec, the loss and the delay are all that is known.
Names are the Recommendation's own.
"""

from dataclasses import dataclass
from math import exp, log10, sqrt

SENSITIVITY = 1.0
"""sT of the default class of delay sensitivity."""
MINIMUM_DELAY_MS = 100.0
"""mT: the delay that nobody notices."""


def delay_impairment(delay_ms: float) -> float:
    """Idd: what the delay Ta itself costs a conversation, even with perfect echo control (G.107 eq. 7-27 f.)."""
    if delay_ms <= MINIMUM_DELAY_MS:
        return 0.0
    x = log10(delay_ms / MINIMUM_DELAY_MS) / log10(2)
    power = 6 * SENSITIVITY
    return 25 * ((1 + x**power) ** (1 / power) - 3 * (1 + (x / 3) ** power) ** (1 / power) + 2)


@dataclass(frozen=True, slots=True)
class Transmission:
    """The parameters of G.107 table 1 with their default values. Loudness ratings and losses in dB, noise in dBm0p,
    dBmp or dB(A), delays in ms."""

    slr: float = 8.0
    """Send loudness rating."""
    rlr: float = 2.0
    """Receive loudness rating."""
    stmr: float = 15.0
    """Sidetone masking rating."""
    dr: float = 3.0
    """D-value of the telephone, receive side."""
    ds: float = 3.0
    """D-value of the telephone, send side."""
    telr: float = 65.0
    """Talker echo loudness rating."""
    wepl: float = 110.0
    """Weighted echo path loss."""
    qdu: float = 1.0
    """Quantising distortion units."""
    nc: float = -70.0
    """Circuit noise referred to 0 dBr."""
    nfor: float = -64.0
    """Noise floor at the receive side."""
    ps: float = 35.0
    """Room noise at the send side."""
    pr: float = 35.0
    """Room noise at the receive side."""
    t: float = 0.0
    """Mean one-way delay of the echo path."""
    ta: float = 0.0
    """Absolute one-way delay."""
    tr: float = 0.0
    """Round-trip delay in the 4-wire loop."""

    def noise(self) -> float:
        """No: all noise, as if at the 0 dBr point."""
        olr = self.slr + self.rlr
        nos = self.ps - self.slr - self.ds - 100 + 0.004 * (self.ps - olr - self.ds - 14) ** 2
        pre = self.pr + 10 * log10(1 + 10 ** ((10 - self.stmr - self.dr) / 10))
        nor = self.rlr - 121 + pre + 0.008 * (pre - 35) ** 2
        nfo = self.nfor + self.rlr
        return 10 * log10(sum(10 ** (n / 10) for n in (self.nc, nos, nor, nfo)))

    def signal_to_noise(self) -> float:
        """Ro: the basic signal-to-noise ratio."""
        return 15 - 1.5 * (self.slr + self.noise())

    def sidetone(self) -> float:
        """Ist: too much or too little of one's own voice."""
        stmro = -10 * log10(10 ** (-self.stmr / 10) + exp(-self.t / 4) * 10 ** (-self.telr / 10))
        return (
            12 * (1 + ((stmro - 13) / 6) ** 8) ** (1 / 8)
            - 28 * (1 + ((stmro + 1) / 19.4) ** 35) ** (1 / 35)
            - 13 * (1 + ((stmro - 3) / 33) ** 13) ** (1 / 13)
            + 29
        )

    def simultaneous(self) -> float:
        """Is: impairments that come with the voice: Iolr + Ist + Iq."""
        x = self.slr + self.rlr + 0.2 * (64 + self.noise() - self.rlr)
        iolr = 20 * ((1 + (x / 8) ** 8) ** (1 / 8) - x / 8)
        q = 37 - 15 * log10(self.qdu)
        g = 1.07 + 0.258 * q + 0.0602 * q * q
        y = (self.signal_to_noise() - 100) / 15 + 46 / 8.4 - g / 9
        z = 46 / 30 - g / 40
        iq = 15 * log10(1 + 10**y + 10**z)
        return iolr + self.sidetone() + iq

    def talker_echo(self) -> float:
        """Idte: the talker's own voice, late."""
        if self.t < 1:
            return 0.0
        roe = -1.5 * (self.noise() - self.rlr)
        terv = self.telr - 40 * log10((1 + self.t / 10) / (1 + self.t / 150)) + 6 * exp(-0.3 * self.t**2)
        if self.stmr < 9:
            terv += self.sidetone() / 2
        half = (roe - (80 + 2.5 * (terv - 14))) / 2
        idte = (half + sqrt(half**2 + 100) - 1) * (1 - exp(-self.t))
        return sqrt(idte**2 + self.sidetone() ** 2) if self.stmr > 20 else idte

    def listener_echo(self) -> float:
        """Idle: the talker's voice, heard twice."""
        rle = 10.5 * (self.wepl + 7) * (self.tr + 1) ** -0.25
        half = (self.signal_to_noise() - rle) / 2
        return half + sqrt(half**2 + 169)

    def r_factor(self, ie_eff: float = 0.0, advantage: float = 0.0) -> float:
        """R, not yet bounded to 0…100."""
        delayed = self.talker_echo() + self.listener_echo() + delay_impairment(self.ta)
        return self.signal_to_noise() - self.simultaneous() - delayed - ie_eff + advantage
