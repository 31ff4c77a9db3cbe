"""The turns of one call: who said what, how long the caller waited for each answer and how much of it was heard.

A turn begins when the caller speaks and ends when the caller speaks after the agent's answer began. An agent that
speaks first makes turn 0, a greeting, with no latency. Times are `now` in seconds.
"""

from collections.abc import Callable

from ..record import Turn

SPEECH_AGE_MAX = 10.0
"""A caller's last speech older than this when its turn ended (seconds) belongs to something else: semantic turn
detection waits up to 8 s."""
TRANSCRIPT_AGE_MAX = 10.0
"""Transcripts without a known item go to the oldest turn that ended this recently and has none."""


class _OpenTurn:
    """A turn and what is needed to complete it."""

    __slots__ = (
        "agent_items",
        "agent_said",
        "answered",
        "caller_item",
        "caller_said",
        "has_caller",
        "interrupted",
        "last_speech",
        "latency_ms",
        "stopped",
    )

    def __init__(self, has_caller: bool, caller_item: str | None) -> None:
        self.has_caller = has_caller
        self.caller_item = caller_item
        self.caller_said: list[str] = []
        self.agent_said: list[str] = []
        self.agent_items: list[str] = []
        self.last_speech: float | None = None
        self.stopped: float | None = None
        self.answered = False
        self.latency_ms: float | None = None
        self.interrupted = False


class TurnLog:
    """Fed by the leg with what happens; `turns()` is the record's view."""

    def __init__(self) -> None:
        self._turns: list[_OpenTurn] = []
        self._turn_of_item: dict[str, _OpenTurn] = {}

    def __repr__(self) -> str:
        return f"<TurnLog turns={len(self._turns)}>"

    def caller_started(self, item_id: str | None = None) -> None:
        """The caller speaks: a new turn, unless this goes on with one that nobody answered yet."""
        turn = self._turns[-1] if self._turns else None
        if turn is None or turn.answered or not turn.has_caller:
            self._turns.append(_OpenTurn(True, item_id))
            return
        turn.stopped = None
        turn.caller_item = item_id or turn.caller_item

    def caller_stopped(self, now: float, last_speech: float | None) -> None:
        """The caller's turn ended. `last_speech` is when the caller was last heard; implausible times are not used."""
        turn = self._turns[-1] if self._turns else None
        if turn is None or not turn.has_caller or turn.answered:
            return
        turn.stopped = now
        if last_speech is not None and 0 <= now - last_speech <= SPEECH_AGE_MAX:
            turn.last_speech = last_speech

    def agent_item(self, item_id: str) -> None:
        """Audio of an item arrived: it answers the present turn, or greets. Repeated calls are harmless."""
        if item_id in self._turn_of_item:
            return
        if not self._turns:
            self._turns.append(_OpenTurn(False, None))
        turn = self._turns[-1]
        turn.agent_items.append(item_id)
        self._turn_of_item[item_id] = turn

    def agent_heard(self, item_id: str, now: float, last_speech: float | None) -> str | None:
        """The first RTP packet of an item left; what that was, for the timeline, when it is the first of an answer.

        `last_speech` serves where no service told that the caller stopped."""
        turn = self._turn_of_item.get(item_id)
        if turn is None or turn.answered:
            return None
        turn.answered = True
        spoken = turn.last_speech if turn.stopped is not None else last_speech
        if turn.has_caller and spoken is not None and now - spoken >= 0:
            turn.latency_ms = (now - spoken) * 1000
            return f"latency {turn.latency_ms:.0f} ms"
        return "" if turn.has_caller else "greeting"

    def interrupted(self, item_ids: list[str]) -> bool:
        """The caller cut these items short; whether that was an interruption. An answer that nobody heard yet is not
        interrupted: the caller goes on."""
        cut = False
        for item_id in item_ids:
            turn = self._turn_of_item.get(item_id)
            if turn is not None and turn.answered:
                turn.interrupted = cut = True
        return cut

    def caller_said(self, item_id: str, text: str, now: float) -> None:
        """A transcript of the caller: to the turn of its item, else to the oldest recent turn that lacks one."""
        turn = next((turn for turn in reversed(self._turns) if turn.caller_item == item_id), None)
        if turn is None:
            turn = self._without_transcript(now)
        if turn is None:
            turn = _OpenTurn(True, item_id)
            self._turns.append(turn)
        turn.caller_said.append(text)

    def agent_said(self, item_id: str, text: str) -> None:
        """A transcript of the agent."""
        self.agent_item(item_id)
        self._turn_of_item[item_id].agent_said.append(text)

    def turns(self, heard_ms: Callable[[str], float]) -> list[Turn]:
        """All turns so far; `heard_ms` tells how much of an item left as RTP."""
        return [
            Turn(
                index=index,
                caller_said=" ".join(turn.caller_said) or None,
                agent_said=" ".join(turn.agent_said) or None,
                latency_ms=round(turn.latency_ms, 1) if turn.latency_ms is not None else None,
                interrupted=turn.interrupted,
                heard_ms=sum(heard_ms(item) for item in turn.agent_items),
            )
            for index, turn in enumerate(self._turns)
        ]

    def _without_transcript(self, now: float) -> _OpenTurn | None:
        callers = [turn for turn in self._turns if turn.has_caller]
        for turn in callers:
            if not turn.caller_said and turn.stopped is not None and now - turn.stopped <= TRANSCRIPT_AGE_MAX:
                return turn
        return callers[-1] if callers else None
