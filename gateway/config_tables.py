"""The tables of the configuration file, one model for each: keys, defaults, units and what they mean."""

import importlib.util
import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from ..sip.errors import ParseError
from ..sip.uri import SipUri
from .addresses import CollectorUrl, HostPort, ListenUrl, PortRange, SipServer, is_loopback

Codec = Literal["opus", "PCMU", "PCMA"]

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*")
_RECORDS_URL = re.compile(r"sqlite:///.+|postgresql://.+")


class Table(BaseModel):
    """A table of the file: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def default_state_dir() -> Path:
    """systemd's StateDirectory= when it is set, otherwise the XDG state directory of this user."""
    if directory := os.environ.get("STATE_DIRECTORY"):
        return Path(directory.split(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "trunkline"


class GatewayConfig(Table):
    """`[gateway]`: the process itself."""

    name: str = Field(default="trunkline", min_length=1)
    """Names this gateway in logs, in User-Agent, and in its rows of a database that several gateways share."""
    state_dir: Path = Field(default_factory=default_state_dir)
    """Where records, their spool and recordings are kept."""
    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=256)] = "auto"
    """Media processes: `auto` is one for each core; 0 runs the media in the switch's own process."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console", "journal"] = "auto"
    """`auto` is the journal under systemd, console on a terminal and JSON elsewhere."""
    max_calls: int = Field(default=300, ge=1)
    """Calls at once; one more is answered 503 with Retry-After."""
    drain_s: float = Field(default=30.0, ge=0)
    """After SIGTERM running calls may finish for this long, seconds."""

    @property
    def worker_count(self) -> int:
        """The number of media processes; 0 for none."""
        if self.workers != "auto":
            return self.workers
        return len(os.sched_getaffinity(0))

    @property
    def recordings_dir(self) -> Path:
        """Where the stereo WAV files of recorded calls go."""
        return self.state_dir / "recordings"

    @property
    def flight_dir(self) -> Path:
        """Where the flight recorder keeps bad calls."""
        return self.state_dir / "flight"


class SipConfig(Table):
    """`[sip]`: where the gateway listens for signalling."""

    listen: list[ListenUrl] = Field(default_factory=lambda: [ListenUrl.parse("udp://0.0.0.0:5060")], min_length=1)
    public_address: str | None = Field(default=None, min_length=1)
    """Host or address for Contact and Via; None advertises what is learned (RFC 3581) or the local address."""
    allow: list[IPvAnyNetwork] = []
    """Networks that may send SIP at all; empty is every network (a source must still belong to a trunk)."""


class RtpConfig(Table):
    """`[rtp]`: the media ports of all workers together."""

    ports: PortRange = PortRange(first=16384, last=32767)
    bind: str = Field(default="0.0.0.0", min_length=1)  # noqa: S104
    """Local address of the RTP sockets."""
    public_address: str | None = Field(default=None, min_length=1)
    """Address in SDP; None is that of `[sip]`."""


class TrunkConfig(Table):
    """`[trunks.NAME]`: one carrier; exactly one of `registrar` and `peer`."""

    registrar: SipServer | None = None
    """The trunk registers here (RFC 3261 section 10)."""
    peer: SipServer | None = None
    """The trunk does not register: digest on each INVITE or an address list, OPTIONS health checks."""
    username: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None
    realm: str | None = Field(default=None, min_length=1)
    """Answer challenges of this realm only; None answers any realm of the trunk's server."""
    expires: int = Field(default=300, ge=30, le=86400)
    """Asked registration lifetime, seconds; the registrar's grant decides."""
    codecs: list[Codec] = Field(default=["opus", "PCMU", "PCMA"], min_length=1)
    """Codecs in order of preference."""
    sources: list[str] = []
    """Networks or host names that this trunk's signalling comes from; empty is the server's own addresses."""
    max_calls: int | None = Field(default=None, ge=1)
    """Calls of this trunk at once; one more is answered 503. None is `[gateway]` alone."""
    options_interval_s: float = Field(default=30.0, ge=0)
    """Seconds between OPTIONS health checks; 0 sends none."""
    caller_id: str | None = Field(default=None, min_length=1)
    """User part of From on placed calls; None is the username."""
    domain: str | None = Field(default=None, min_length=1)
    """Host part of the trunk's own address of record; None is the server's host."""

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if (self.registrar is None) == (self.peer is None):
            raise ValueError("a trunk has exactly one of registrar (it registers) and peer (it does not)")
        if self.registrar is not None and self.username is None:
            raise ValueError("a trunk that registers needs a username; add username")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username; add username")
        return self

    @field_validator("sources")
    @classmethod
    def _networks_or_names(cls, sources: list[str]) -> list[str]:
        for source in sources:
            if not _HOST_NAME.fullmatch(source) and not _is_network(source):
                raise ValueError(f"{source!r} is neither a network such as 192.0.2.0/24 nor a host name")
        return sources

    @property
    def registers(self) -> bool:
        """True when this trunk sends REGISTER."""
        return self.registrar is not None

    @property
    def server(self) -> SipServer:
        """The registrar or the peer: where placed calls go."""
        server = self.registrar or self.peer
        if server is None:
            raise ValueError("a trunk has a registrar or a peer")
        return server


class RouteConfig(Table):
    """`[[routes]]`: which agent answers which number; the first that fits wins."""

    to: str = Field(min_length=1)
    """Dialled number, with shell wildcards."""
    trunk: str | None = None
    """Only calls of this trunk; None is any."""
    agent: str
    fallback: str | int | None = None
    """When the agent cannot take the call: another agent's name, or the SIP status to refuse with."""

    @field_validator("fallback")
    @classmethod
    def _refusal(cls, fallback: str | int | None) -> str | int | None:
        if isinstance(fallback, int) and not 400 <= fallback <= 699:
            raise ValueError("must be the name of an agent, or a SIP status from 400 to 699")
        return fallback


class HttpConfig(Table):
    """`[http]`: the admin API."""

    listen: HostPort = HostPort(host="127.0.0.1", port=8080)
    token: SecretStr | None = None
    """Bearer token, and what the console asks for at login; needed on every address that is not loopback."""
    show_numbers: bool = False
    """Whether the console shows telephone numbers and pressed keys whole."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.token is not None and not self.token.get_secret_value():
            raise ValueError("the token is empty; give one, or remove the key and listen on 127.0.0.1")
        if self.token is None and not is_loopback(self.listen.host):
            raise ValueError(f"listen = {str(self.listen)!r} is open to the network; set token, or listen on 127.0.0.1")
        return self


class RecordsConfig(Table):
    """`[records]`: where call records are kept."""

    url: SecretStr | None = None
    """`sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`; None is `calls.db` under the state directory."""

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        if not _RECORDS_URL.fullmatch(url.get_secret_value()):
            raise ValueError("expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
        if url.get_secret_value().startswith("postgresql:") and importlib.util.find_spec("asyncpg") is None:
            raise ValueError("PostgreSQL needs the asyncpg package; install trunkline[postgresql]")
        return url


class HepConfig(Table):
    """`[hep]`: SIP and RTCP are mirrored to a Homer collector."""

    collector: CollectorUrl | None = None
    """`udp://HOST:PORT` of the collector; None mirrors nothing."""
    capture_id: int = Field(default=2001, ge=0, le=0xFFFFFFFF)
    """Names this gateway at the collector, beside `[gateway] name`."""
    password: SecretStr | None = None
    """What the collector asks its agents for; it travels in clear."""

    @model_validator(mode="after")
    def _has_a_collector(self) -> Self:
        _check_collector(self)
        return self


class QualityReportConfig(Table):
    """`[quality_report]`: a report of each answered call's quality by SIP PUBLISH (RFC 6035)."""

    collector: str | None = None
    """SIP URI that the reports go to: `sip:vq@host:port;transport=udp`; None sends none."""
    username: str | None = Field(default=None, min_length=1)
    """Answers the collector's challenges, with the password; None: the account of the call's trunk, when the collector
    is that trunk's own server."""
    password: SecretStr | None = None

    @field_validator("collector")
    @classmethod
    def _sip_uri(cls, collector: str | None) -> str | None:
        try:
            uri = SipUri.parse(collector) if collector is not None else None
        except ParseError:
            uri = None
        if collector is not None and (uri is None or uri.scheme != "sip" or uri.transport not in (None, "udp", "tcp")):
            raise ValueError("expected a SIP URI such as sip:vq@collector.example.com:5060;transport=udp")
        if uri is not None and uri.password is not None:
            raise ValueError("the URI holds a password, which would travel in clear; use username and password")
        return collector

    @model_validator(mode="after")
    def _whole_account(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("an account has a username and a password; add the other one")
        _check_collector(self)
        return self


def _check_collector(table: HepConfig | QualityReportConfig) -> None:
    """Keys without a collector would do nothing, and nobody would know."""
    if table.collector is None and table.model_fields_set:
        raise ValueError("there is no collector; add it, or remove the other keys")


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
