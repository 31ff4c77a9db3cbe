"""What offer/answer agreed, as a session takes it. The call and its replay read it alike."""

from collections.abc import Callable

from ...codecs.errors import PayloadError
from ...codecs.registry import codec
from ...rtp.session import MediaFormat, RtpSession
from ..messages import CodecSpec, MediaParameters


def media_format(parameters: MediaParameters, samples: Callable[[bytes], int]) -> MediaFormat:
    """Payload types and clock; `samples` measures a payload."""
    spec = parameters.codec
    return MediaFormat(
        send_type=spec.send_type,
        receive_type=spec.receive_type,
        clock_rate=spec.clock_rate,
        samples=samples,
        event_send_type=parameters.event_send_type,
        event_receive_type=parameters.event_receive_type,
    )


def same_line(one: CodecSpec, other: CodecSpec) -> bool:
    """Payload types may change while the codec goes on."""
    return (one.name.lower(), one.fmtp) == (other.name.lower(), other.fmtp)


def may_send(parameters: MediaParameters) -> bool:
    """Whether we send."""
    return parameters.direction in ("sendrecv", "sendonly")


def may_listen(parameters: MediaParameters) -> bool:
    """Whether what comes is the caller's. What comes while we do not send is music."""
    return parameters.direction == "sendrecv"


def aim(session: RtpSession, parameters: MediaParameters, now: float) -> None:
    """Where the session sends to, and from where it takes."""
    session.set_remote(
        parameters.remote_host,
        parameters.remote_port,
        parameters.remote_rtcp_port,
        rtcp_mux=parameters.rtcp_mux,
        now=now,
    )


def measure(spec: CodecSpec) -> Callable[[bytes], int]:
    """Duration of a payload in RTP clock units; 0 for one that cannot be measured. Raises UnknownCodec."""
    samples = codec(spec.name).packet_samples
    if samples is len:
        return len

    def measured(payload: bytes) -> int:
        try:
            return samples(payload)
        except PayloadError:
            return 0

    return measured
