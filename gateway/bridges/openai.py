"""OpenAI Realtime (GA), and servers that speak its protocol in the GA or the beta dialect."""

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from ._openai_config import HANG_UP, OpenAIConfig
from .base import AudioFormat, BridgeEvent, CallContext, Capabilities, Heard

__all__ = ["BRIDGE", "HANG_UP", "OpenAIBridge", "OpenAIConfig", "OpenAIProvider"]


class OpenAIBridge:
    """One call's conversation with one Realtime session after another."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        turn_detection=True, truncation=True, tools=True, transcripts=True
    )
    input_format: AudioFormat
    output_format: AudioFormat
    speaks_first: bool

    def __init__(self, config: OpenAIConfig, context: CallContext) -> None:
        g711 = config.audio == "auto" and context.preferred.encoding in ("pcmu", "pcma")
        self.input_format = self.output_format = context.preferred if g711 else AudioFormat("pcm16", 24000)
        self.speaks_first = bool(config.greeting)

    async def open(self) -> None: ...

    def send(self, frame: bytes) -> None: ...

    async def events(self) -> AsyncIterator[BridgeEvent]:
        return
        yield

    def interrupt(self, heard: Sequence[Heard]) -> None: ...

    def send_tool_result(self, call_id: str, output: str) -> None: ...

    def send_dtmf(self, digits: str) -> None: ...

    async def close(self) -> None: ...


class OpenAIProvider:
    """The provider of this module."""

    config = OpenAIConfig

    def bridge(self, config: OpenAIConfig, context: CallContext) -> OpenAIBridge:
        """A bridge for one call; dials nothing."""
        return OpenAIBridge(config, context)


BRIDGE = OpenAIProvider()
