"""The four transaction machines of RFC 3261 §17 with RFC 6026, as tables. docs/sip-transactions.md is their other copy.

A machine is told what happened and returns the ordered list of effects that its owner, the TransactionLayer, applies:
a send always precedes the timer that repeats it, the user comes last. A (state, input) pair without a row is absorbed.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from .flow import Flow
from .message import Request, Response
from .timers import Timing

if TYPE_CHECKING:
    from .transaction_layer import ClientUser, ServerUser, TransactionLayer


class TransactionState(enum.Enum):
    """The states of all four machines, by the RFC's words."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


# Effects


@dataclass(frozen=True, slots=True)
class Send:
    """Give these octets to the transport."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Run the timer for `delay` seconds."""

    timer: str
    delay: float


@dataclass(frozen=True, slots=True)
class ClearTimer:
    """Stop the timer."""

    timer: str


@dataclass(frozen=True, slots=True)
class ToUser:
    """Hand the message to the transaction user."""

    message: Request | Response


@dataclass(frozen=True, slots=True)
class Fail:
    """The transaction failed: `timeout` or `transport`."""

    cause: str


@dataclass(frozen=True, slots=True)
class Terminated:
    """Forget the transaction. Always the last effect."""


Effect = Send | SetTimer | ClearTimer | ToUser | Fail | Terminated


class Row(NamedTuple):
    """One transition: the next state and what is done on the way."""

    next: TransactionState
    actions: tuple[str, ...]


Table = Mapping[tuple[TransactionState, str], Row]


def _table(*rows: tuple[str, str, str, str]) -> Table:
    return {
        (TransactionState(state), given): Row(
            TransactionState(following), tuple(action.strip() for action in actions.split(",") if action.strip())
        )
        for state, given, following, actions in rows
    }


INVITE_CLIENT = _table(
    ("calling", "start", "calling", "send, set A, set B"),
    ("calling", "timer A", "calling", "send, repeat A"),
    ("calling", "timer B", "terminated", "fail"),
    ("calling", "error", "terminated", "fail"),
    ("calling", "1xx", "proceeding", "clear A, clear B, user"),
    ("calling", "2xx", "accepted", "clear A, clear B, set M, user"),
    ("calling", "3xx-6xx", "completed", "clear A, clear B, send ACK, set D, user"),
    ("proceeding", "1xx", "proceeding", "user"),
    ("proceeding", "2xx", "accepted", "set M, user"),
    ("proceeding", "3xx-6xx", "completed", "send ACK, set D, user"),
    ("proceeding", "error", "terminated", "fail"),
    ("completed", "3xx-6xx", "completed", "send ACK"),
    ("completed", "error", "terminated", ""),
    ("completed", "timer D", "terminated", ""),
    ("accepted", "2xx", "accepted", "user"),
    ("accepted", "timer M", "terminated", ""),
)

NON_INVITE_CLIENT = _table(
    ("trying", "start", "trying", "send, set E, set F"),
    ("trying", "timer E", "trying", "send, repeat E"),
    ("trying", "timer F", "terminated", "fail"),
    ("trying", "error", "terminated", "fail"),
    ("trying", "1xx", "proceeding", "user"),
    ("trying", "final", "completed", "clear E, clear F, set K, user"),
    ("proceeding", "timer E", "proceeding", "send, set E to T2"),
    ("proceeding", "timer F", "terminated", "fail"),
    ("proceeding", "error", "terminated", "fail"),
    ("proceeding", "1xx", "proceeding", "user"),
    ("proceeding", "final", "completed", "clear E, clear F, set K, user"),
    ("completed", "timer K", "terminated", ""),
)

INVITE_SERVER = _table(
    ("proceeding", "start", "proceeding", "set 100, user"),
    ("proceeding", "timer 100", "proceeding", "send 100"),
    ("proceeding", "request", "proceeding", "send"),
    ("proceeding", "1xx", "proceeding", "clear 100, send"),
    ("proceeding", "2xx", "accepted", "clear 100, send, set L"),
    ("proceeding", "3xx-6xx", "completed", "clear 100, send, set G, set H"),
    ("proceeding", "error", "proceeding", "fail"),
    ("completed", "request", "completed", "send"),
    ("completed", "timer G", "completed", "send, repeat G"),
    ("completed", "timer H", "terminated", "fail"),
    ("completed", "ACK", "confirmed", "clear G, clear H, set I"),
    ("completed", "error", "completed", ""),
    ("confirmed", "timer I", "terminated", ""),
    ("accepted", "2xx", "accepted", "send"),
    ("accepted", "ACK", "accepted", "user"),
    ("accepted", "error", "accepted", "fail"),
    ("accepted", "timer L", "terminated", ""),
)

NON_INVITE_SERVER = _table(
    ("trying", "start", "trying", "user"),
    ("trying", "1xx", "proceeding", "send"),
    ("trying", "final", "completed", "send, set J"),
    ("proceeding", "request", "proceeding", "send"),
    ("proceeding", "1xx", "proceeding", "send"),
    ("proceeding", "final", "completed", "send, set J"),
    ("proceeding", "error", "terminated", "fail"),
    ("completed", "request", "completed", "send"),
    ("completed", "error", "terminated", "fail"),
    ("completed", "timer J", "terminated", ""),
)


class Transaction:
    """What the four machines share: the table walk and the timers' durations."""

    TABLE: ClassVar[Table]
    START: ClassVar[TransactionState]
    layer: "TransactionLayer"
    """Set by the layer that runs it."""

    def __init__(self, request: Request, flow: Flow, timing: Timing) -> None:
        self.request = request
        self.flow = flow
        self.method = request.method
        self.call_id = request.call_id
        self.state = self.START
        self._timing = timing
        self._intervals: dict[str, float] = {}
        self._last_sent: bytes | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.method} {self.state.value} {self.flow}>"

    @property
    def live(self) -> bool:
        """Not yet terminated."""
        return self.state is not TransactionState.TERMINATED

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap: run the timer's effects through the layer."""
        self.layer.apply(self, self.timer(timer), now)

    def start(self) -> list[Effect]:
        """First input."""
        return self._step("start", self.request)

    def timer(self, timer: str) -> list[Effect]:
        """Timer `timer` (its letter) is due."""
        return self._step(f"timer {timer}")

    def transport_error(self) -> list[Effect]:
        """The transport could not deliver to this transaction's flow."""
        return self._step("error")

    def _input_of(self, status: int) -> str:
        """What the tables call a response."""
        if status < 200:
            return "1xx"
        if self.method != "INVITE":
            return "final"
        return "2xx" if status < 300 else "3xx-6xx"

    def _step(self, given: str, message: Request | Response | None = None) -> list[Effect]:
        row = self.TABLE.get((self.state, given))
        if row is None:
            return []
        effects: list[Effect] = []
        for action in row.actions:
            self._act(action, given, message, effects)
        self.state = row.next
        if row.next is TransactionState.TERMINATED:
            effects.append(Terminated())
        return effects

    def _act(self, action: str, given: str, message: Request | Response | None, effects: list[Effect]) -> None:
        verb, _, operand = action.partition(" ")
        match verb:
            case "send":
                self._send(operand, message, effects)
            case "user" if message is not None:
                effects.append(ToUser(message))
            case "fail":
                effects.append(Fail("transport" if given == "error" else "timeout"))
            case "clear":
                effects.append(ClearTimer(operand))
            case "set" | "repeat":
                self._arm(verb, operand, effects)

    def _arm(self, verb: str, operand: str, effects: list[Effect]) -> None:
        timer = operand[:1] if operand != "100" else operand
        if verb == "repeat":
            delay = self._timing.repeated(timer, self._intervals[timer])
        elif operand.endswith("to T2"):
            delay = self._timing.t2
        else:
            first = self._timing.first(timer, self.flow.reliable)
            if first is None:
                return
            delay = first
        self._intervals[timer] = delay
        effects.append(SetTimer(timer, delay))

    def _send(self, operand: str, message: Request | Response | None, effects: list[Effect]) -> None:
        raise NotImplementedError


class ClientTransaction(Transaction):
    """A request of ours. `request` carries its Via."""

    def __init__(
        self, request: Request, flow: Flow, timing: Timing, make_ack: Callable[[Request, Response], bytes]
    ) -> None:
        super().__init__(request, flow, timing)
        self.user: ClientUser | None = None
        self._make_ack = make_ack
        self.octets = request.to_bytes()
        """The request as sent, Via included."""

    def receive(self, response: Response) -> list[Effect]:
        """A response that matched this transaction (§17.1.3)."""
        return self._step(self._input_of(response.status), response)

    def _send(self, operand: str, message: Request | Response | None, effects: list[Effect]) -> None:
        if operand == "ACK" and isinstance(message, Response):
            effects.append(Send(self._make_ack(self.request, message)))
        else:
            effects.append(Send(self.octets))


class InviteClientTransaction(ClientTransaction):
    """INVITE, our side (RFC 3261 §17.1.1, RFC 6026 §7.2)."""

    TABLE = INVITE_CLIENT
    START = TransactionState.CALLING


class NonInviteClientTransaction(ClientTransaction):
    """Any other request, our side (RFC 3261 §17.1.2)."""

    TABLE = NON_INVITE_CLIENT
    START = TransactionState.TRYING


class ServerTransaction(Transaction):
    """A request of the far end; `flow` is where its responses go."""

    def __init__(self, request: Request, flow: Flow, timing: Timing, trying: Callable[[Request], bytes]) -> None:
        super().__init__(request, flow, timing)
        self.user: ServerUser | None = None
        self.source = flow
        """Where the request came from; `flow` is where its responses go."""
        self.merged = False
        """The same request is already here by another path (RFC 3261 §8.2.2.2)."""
        self.final_status: int | None = None
        self._trying = trying
        self._rerouted = False

    def receive(self, request: Request) -> list[Effect]:
        """The same request again, or the ACK of this INVITE (§17.2.3)."""
        return self._step("ACK" if request.method == "ACK" else "request", request)

    def reroute(self, flow: Flow) -> list[Effect]:
        """The connection is gone: answer at the Via's sent-by instead (§18.2.2), once; then it is a transport error."""
        if self._rerouted or flow == self.flow:
            return self.transport_error()
        self._rerouted = True
        self.flow = flow
        return [] if self._last_sent is None or not self.live else [Send(self._last_sent)]

    def respond(self, response: Response) -> list[Effect]:
        """The user's response; a second final one is absorbed, except a 2xx repeated by the user itself."""
        given = self._input_of(response.status)
        if (self.state, given) not in self.TABLE:
            return []
        self._last_sent = response.to_bytes()
        if response.status >= 200:
            self.final_status = response.status
        return self._step(given, response)

    def _send(self, operand: str, message: Request | Response | None, effects: list[Effect]) -> None:
        if operand == "100":
            self._last_sent = self._trying(self.request)
        if self._last_sent is not None:
            effects.append(Send(self._last_sent))


class InviteServerTransaction(ServerTransaction):
    """INVITE, the far end's (RFC 3261 §17.2.1, RFC 6026 §7.1)."""

    TABLE = INVITE_SERVER
    START = TransactionState.PROCEEDING


class NonInviteServerTransaction(ServerTransaction):
    """Any other request, the far end's (RFC 3261 §17.2.2)."""

    TABLE = NON_INVITE_SERVER
    START = TransactionState.TRYING
