"""What a bridge is: one call's conversation with one speech service.

A bridge knows nothing of SIP, RTP or the clock. Its owner (the media leg) drives it:

    bridge = load("openai").bridge(config, context)      # formats are chosen here, before anything is dialled
    await bridge.open()                                   # while the phone rings; raises BridgeError
    bridge.send(frame)                                    # never waits, never raises for a lost connection
    async for event in bridge.events(): ...               # never waits behind audio; ends after Closed
    bridge.interrupt(heard)                               # the caller spoke: what was heard of each item
    await bridge.close()

Adding a service: one module here with a `BRIDGE` name, and nothing else changes. Modules whose name starts
with an underscore are parts of a service, or the gateway's own voice: no agent can name them.
"""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, Literal, Protocol

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

HANG_UP = "hang_up"
"""Name of the built-in tool: the agent ends the call."""


class AudioFormat(msgspec.Struct, frozen=True):
    """Audio on one direction of a bridge. G.711 is one octet a sample at 8000 Hz; pcm16 is little-endian mono."""

    encoding: Literal["pcmu", "pcma", "pcm16"]
    sample_rate: int

    @property
    def octets_per_ms(self) -> int:
        return self.sample_rate // 1000 * (2 if self.encoding == "pcm16" else 1)


class Capabilities(msgspec.Struct, frozen=True):
    """What the service does itself, so that the gateway need not."""

    turn_detection: bool
    truncation: bool
    tools: bool
    transcripts: bool


class CallContext(msgspec.Struct, frozen=True):
    """What a bridge may know of the call."""

    call_id: str
    direction: str
    from_: str | None
    to: str | None
    preferred: AudioFormat
    """The format that needs no conversion on the phone's side: `pcmu`/`pcma` 8000 for G.711, pcm16 24000 otherwise."""


class Heard(msgspec.Struct, frozen=True):
    """How much of one item the caller heard before it was cut."""

    item_id: str
    heard_ms: float
    """ms of the item's audio that left as RTP; 0 for an item that was still queued."""
    received_ms: float
    """ms of the item's audio that the bridge had delivered."""


class FunctionTool(BaseModel):
    """One function that the agent may call. It is carried out by a POST to `url` (see media/functions.py)."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Literal["function"] = "function"
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of the arguments."""
    url: str | None = Field(default=None, pattern=r"^https?://[^\s/]")
    """Where the call of this function is posted; without it the agent is told that the function is not available."""
    token: SecretStr | None = None
    """Sent as a bearer token."""
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    """How long the agent waits for the answer, seconds."""


class AgentConfig(BaseModel):
    """What every agent has; each bridge's own model extends it. Unknown keys are errors, which never show a value:
    it may be a secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    provider: str
    patience_s: float = 8.0
    """How long the phone may ring while the service gets ready, seconds."""
    recording: bool = False
    """Write both sides to a stereo WAV."""
    tools: list[FunctionTool] = Field(default_factory=list)
    """Functions that the agent may call, beside the built-in hang_up."""


class BridgeError(Exception):
    """The family of this room. `reason` is one sentence for the record and the log, free of secrets.

    BridgeError
     ├─ BridgeRefused       the service said no: bad key, unknown model, rate limit
     └─ BridgeUnreachable   no connection: name, route, TLS, time-out
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BridgeRefused(BridgeError):
    """The service answered, and said no."""


class BridgeUnreachable(BridgeError):
    """The service could not be reached."""


# Events


class AudioDelta(msgspec.Struct):
    """Audio of one item, in the bridge's `output_format`; any length, faster than real time."""

    item_id: str
    audio: bytes


class AudioDone(msgspec.Struct):
    """The item's audio is complete; its odd tail may be played out."""

    item_id: str


class AudioCleared(msgspec.Struct):
    """What is queued is not to be said any more. Nothing is told back: the service knows what it took away."""


class LastWord(msgspec.Struct):
    """The agent has no more to say: the owner hangs up when what is queued was heard. Until then the conversation goes
    on, and what is still said moves the end."""

    reason: str


class ResponseStarted(msgspec.Struct):
    """The agent began to answer."""


class ResponseDone(msgspec.Struct):
    """The agent's answer is complete or was cancelled; `usage` as the service counts it."""

    status: str
    usage: dict[str, Any]


class SpeechStarted(msgspec.Struct):
    """The service hears the caller speak. The owner flushes playout and calls `interrupt`."""

    item_id: str | None = None
    """The item that this speech becomes, when the service says so: its Transcript will carry the same id."""


class SpeechStopped(msgspec.Struct):
    """The service hears the caller's turn end."""


class Transcript(msgspec.Struct):
    """What was said, whole, once per item."""

    speaker: Literal["caller", "agent"]
    item_id: str
    text: str


class ToolCall(msgspec.Struct):
    """The agent calls a function; answer with `send_tool_result`."""

    call_id: str
    name: str
    arguments: str
    """JSON text as the service sent it."""


class ServiceError(msgspec.Struct):
    """The service reported an error and the conversation goes on."""

    code: str
    message: str


class Reconnected(msgspec.Struct):
    """The connection was lost and a new session carries the conversation so far; queued audio is still good."""

    reason: str


class Closed(msgspec.Struct):
    """The conversation is over. Last event."""

    reason: str
    clean: bool
    """True when the service or the owner ended it on purpose."""


BridgeEvent = (
    AudioDelta
    | AudioDone
    | AudioCleared
    | LastWord
    | ResponseStarted
    | ResponseDone
    | SpeechStarted
    | SpeechStopped
    | Transcript
    | ToolCall
    | ServiceError
    | Reconnected
    | Closed
)


def add_usage(total: dict[str, Any], usage: dict[str, Any]) -> None:
    """Add counts of a service to a total, key by key and level by level; what is no number is left out."""
    for key, value in usage.items():
        if isinstance(value, dict):
            below = total.setdefault(key, {})
            if isinstance(below, dict):
                add_usage(below, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            before = total.get(key, 0)
            total[key] = before + value if isinstance(before, int | float) else value


class Bridge(Protocol):
    """One conversation. Formats are fixed at construction and never change."""

    capabilities: ClassVar[Capabilities]
    input_format: AudioFormat
    output_format: AudioFormat
    speaks_first: bool
    """The agent greets: the owner waits for the first audio before the call is answered."""

    async def open(self) -> None:
        """Connect and configure the session; returns when it is confirmed. Raises BridgeError."""
        ...

    def send(self, frame: bytes) -> None:
        """One frame of the caller's audio in `input_format`, any length. Never waits; frames are dropped and counted
        while no connection is up or its write buffer is over its high-water mark."""
        ...

    def events(self) -> AsyncIterator[BridgeEvent]:
        """Everything that the service says, in order; ends after Closed."""
        ...

    def interrupt(self, heard: Sequence[Heard]) -> None:
        """Cancel the running response, drop its late deltas, and tell the service what was heard of each item."""
        ...

    def send_tool_result(self, call_id: str, output: str) -> None:
        """The result of a ToolCall, as text."""
        ...

    def send_dtmf(self, digits: str) -> None:
        """Tell the agent which keys the caller pressed."""
        ...

    async def close(self) -> None:
        """End the session; idempotent."""
        ...


class Provider(Protocol):
    """What a module here offers under the name `BRIDGE`."""

    config: type[AgentConfig]

    def bridge(self, config: Any, context: CallContext) -> Bridge:
        """A bridge for one call; dials nothing."""
        ...


def providers() -> list[str]:
    """The names that `provider = "…"` may have."""
    package = importlib.import_module(__package__ or "")
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if name != "base" and not name.startswith("_"))


def load(provider: str) -> Provider:
    """The provider of this name; KeyError when there is none."""
    if provider not in providers():
        raise KeyError(provider)
    return importlib.import_module(f".{provider}", __package__).BRIDGE
