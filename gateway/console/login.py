"""Who may see the console when a token is set: sessions in memory, and a brake on guessing.

The browser gets a random session and never keeps the token; here only the session's digest is kept. All bounded.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

SESSIONS = 256
"""Sessions at once; of more the one that was used longest ago ends."""
IDLE_S = 12 * 3600.0
"""A session that is not used for so long ends."""
KEPT_S = 30 * 86400.0
"""However it is used, a session ends after so long."""
ATTEMPTS = 5
"""Wrong tokens from one place before it has to wait."""
ATTEMPT_EVERY_S = 20.0
"""One more attempt for every so many seconds."""
PLACES = 256
"""Counters of attempts; places share them by a digest that nobody outside can foresee."""


@dataclass(slots=True)
class Session:
    """One browser that knew the token."""

    used_at: float
    opened_at: float = 0.0
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Stands in every form; a page of another site cannot know it."""

    def owns(self, form_token: str) -> bool:
        """True for a form of this session; compared in constant time."""
        return hmac.compare_digest(form_token.encode(errors="surrogateescape"), self.form_token.encode())


class Sessions:
    """All sessions; `now` is the monotonic clock, seconds."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, now: float) -> tuple[str, Session]:
        """A new session, and the secret that the browser shows for it."""
        self._expire(now)
        if len(self._sessions) >= SESSIONS:
            del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].used_at)]
        secret = secrets.token_urlsafe(32)
        session = self._sessions[_digest(secret)] = Session(now, now)
        return secret, session

    def find(self, secret: str, now: float) -> Session | None:
        """The session of this secret, which counts as used; None when there is none, or none any more."""
        session = self._sessions.get(_digest(secret))
        if session is None:
            return None
        if _over(session, now):
            del self._sessions[_digest(secret)]
            return None
        session.used_at = now
        return session

    def close(self, secret: str) -> None:
        """The session ends."""
        self._sessions.pop(_digest(secret), None)

    def _expire(self, now: float) -> None:
        for key in [key for key, session in self._sessions.items() if _over(session, now)]:
            del self._sessions[key]


def _over(session: Session, now: float) -> bool:
    return now - session.used_at > IDLE_S or now - session.opened_at > KEPT_S


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


class Attempts:
    """A bucket of attempts for each place a login comes from; a place is an address, in IPv6 a /64."""

    def __init__(self, random_octets: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._key = random_octets(16)
        self._spent = [0.0] * PLACES
        self._since = [0.0] * PLACES

    def wait_s(self, address: str, now: float) -> float:
        """Seconds until this place may try again; 0 when it may."""
        self._refill(self._slot(address), now)
        over = self._spent[self._slot(address)] - ATTEMPTS + 1
        return max(0.0, over * ATTEMPT_EVERY_S)

    def failed(self, address: str, now: float) -> None:
        """A wrong token."""
        slot = self._slot(address)
        self._refill(slot, now)
        self._spent[slot] += 1

    def _refill(self, slot: int, now: float) -> None:
        self._spent[slot] = max(0.0, self._spent[slot] - (now - self._since[slot]) / ATTEMPT_EVERY_S)
        self._since[slot] = now

    def _slot(self, address: str) -> int:
        try:
            place = str(ip_network(f"{address}/64", strict=False)) if ip_address(address).version == 6 else address
        except ValueError:
            place = address
        return hashlib.blake2b(place.encode(), key=self._key, digest_size=1).digest()[0] % PLACES


class Browsers:
    """Browsers that knew the token once: they have attempts of their own, so that a stranger's guesses behind the same
    proxy keep nobody out who has been here before. What they show for it is bound to the token, and opens nothing."""

    def __init__(self, token: str) -> None:
        self._key = hashlib.sha256(b"trunkline browser\0" + token.encode()).digest()

    def mark(self) -> str:
        """For a browser to keep."""
        name = secrets.token_urlsafe(12)
        return f"{name}.{self._seal(name)}"

    def known(self, mark: str) -> str | None:
        """The name of the browser that shows this; None when nobody gave it to one."""
        name, _, seal = mark.partition(".")
        return name if hmac.compare_digest(_digest(seal), _digest(self._seal(name))) else None

    def _seal(self, name: str) -> str:
        return hmac.new(self._key, name.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


def knows(given: str, token: str) -> bool:
    """True for the token; compared in constant time, whatever was given."""
    return hmac.compare_digest(_digest(given), _digest(token))
