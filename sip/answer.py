"""A 2xx to an INVITE, repeated until its ACK comes (RFC 3261 §13.3.1.4). The transaction does not do it: it is end to
end, over reliable transports too."""

from collections.abc import Callable

from .message import Response
from .transaction import ServerTransaction
from .transaction_layer import TransactionLayer


class PendingAnswer:
    """Repeats one 2xx at T1, doubling up to T2, and gives up after 64*T1."""

    def __init__(
        self,
        layer: TransactionLayer,
        transaction: ServerTransaction,
        response: Response,
        holds_offer: bool,
        on_no_ack: Callable[[float], None],
    ) -> None:
        """`holds_offer`: the ACK must bring the answer."""
        self.holds_offer = holds_offer
        self._layer = layer
        self._transaction = transaction
        self._response = response
        self._on_no_ack = on_no_ack
        self._interval = layer.timing.t1

    def start(self, now: float) -> None:
        """The 2xx was just sent for the first time."""
        self._layer.timers.set(self, "repeat", now + self._interval)
        self._layer.timers.set(self, "give up", now + self._layer.timing.give_up)

    def stop(self) -> None:
        """The ACK came, or the call is over."""
        self._layer.timers.cancel_all(self)

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap."""
        if timer == "give up":
            self.stop()
            self._on_no_ack(now)
            return
        self._layer.respond(self._transaction, self._response, now)
        self._interval = min(self._interval * 2, self._layer.timing.t2)
        self._layer.timers.set(self, "repeat", now + self._interval)
