"""What an agent of `provider = "openai"` can be told."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from .base import HANG_UP, AgentConfig


class ServerVad(BaseModel):
    """Turns by silence. What is not set is the service's own default."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"] = "server_vad"
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Loudness that counts as speech, 0 to 1; the service's default is 0.5."""
    prefix_padding_ms: int | None = Field(default=None, ge=0)
    """Audio kept from before the detected start, ms; the service's default is 300."""
    silence_duration_ms: int | None = Field(default=None, ge=0)
    """Silence that ends a turn, ms; the service's default is 500."""
    idle_timeout_ms: int | None = Field(default=None, ge=0)
    """Speak again when the caller stays silent this long after the last answer was played, ms."""
    create_response: bool = True
    """Answer when the caller's turn ends."""
    interrupt_response: bool = True
    """Stop generating when the caller starts to speak."""


class SemanticVad(BaseModel):
    """Turns by meaning: the service judges whether the caller is finished."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    """Longest wait for more words: low 8 s, medium 4 s, high 2 s; auto is medium."""
    create_response: bool = True
    """Answer when the caller's turn ends."""
    interrupt_response: bool = True
    """Stop generating when the caller starts to speak."""


class Transcription(BaseModel):
    """How the caller's words are written down."""

    model_config = ConfigDict(extra="forbid")

    model: str = "gpt-transcribe"
    language: str | None = None
    """ISO 639-1 code, `en`; left out, the service guesses."""
    prompt: str | None = None
    """Names and words to expect."""


class OpenAIConfig(AgentConfig):
    """An agent at OpenAI Realtime, or at a server that speaks its protocol."""

    provider: str = "openai"
    model: str = "gpt-realtime-2.1"
    voice: str = "marin"
    instructions: str | None = None
    """What the agent is and how it behaves."""
    instructions_file: Path | None = None
    """The same from a UTF-8 file, read when the configuration is; instead of `instructions`."""
    base_url: str | None = None
    """Another server than OpenAI's: `wss://host/v1` or `ws://host:8000/v1` (http and https are taken too);
    `/realtime` is appended."""
    api_key: SecretStr | None = None
    """Needed unless `base_url` is set."""
    greeting: str | bool = False
    """What the agent says first, word for word; or true, and the instructions decide."""
    turn_detection: Annotated[ServerVad | SemanticVad, Field(discriminator="type")] | Literal["none"] = Field(
        default_factory=ServerVad
    )
    """Who decides that the caller's turn is over. With `none` the service never answers by itself: only for a
    gateway that detects turns."""
    noise_reduction: Literal["near_field", "far_field", "none"] = "near_field"
    """Filter before turn detection: near_field for a handset, far_field for a speakerphone."""
    transcription: Transcription | Literal["none"] = Field(default_factory=Transcription)
    """What the record knows of the caller's words."""
    hang_up: bool = True
    """Declare the `hang_up` tool."""
    speed: float | None = Field(default=None, ge=0.25, le=1.5)
    """Speed of speech, 1 is the voice's own."""
    max_output_tokens: int | None = Field(default=None, ge=1, le=4096)
    """Longest answer, tokens; left out, no limit."""
    reasoning_effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    """For models that reason."""
    dialect: Literal["ga", "beta"] = "ga"
    """How the session is configured; `beta` for self-hosted servers of the older protocol. Events of both are
    understood in either case."""
    audio: Literal["auto", "pcm16"] = "auto"
    """auto: G.711 end to end when the call is G.711. pcm16: 24 kHz PCM always, for servers that know nothing else."""

    @field_validator("base_url")
    @classmethod
    def _websocket_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
        if scheme not in ("ws", "wss") or not separator or not rest.strip("/"):
            raise ValueError("must be a ws://, wss://, http:// or https:// address")
        return f"{scheme}://{rest.rstrip('/')}".removesuffix("/realtime")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.instructions is not None and self.instructions_file is not None:
            raise ValueError("instructions and instructions_file exclude each other")
        if self.instructions_file is not None:
            try:
                self.instructions = self.instructions_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"instructions_file: {error}") from None
            self.instructions_file = None
        if self.api_key is None and self.base_url is None:
            raise ValueError("api_key is needed for OpenAI's own service")
        names = [tool.name for tool in self.tools] + ([HANG_UP] if self.hang_up else [])
        if len(names) != len(set(names)):
            raise ValueError("two tools have the same name (hang_up is built in unless hang_up = false)")
        return self
