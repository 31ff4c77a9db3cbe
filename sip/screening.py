"""What a user agent server checks of a request before it acts on it (RFC 3261 §8.2)."""

from collections.abc import Callable

from .body import SDP
from .events import Refusal
from .flow import Flow
from .message import Request
from .session_refresh import SUPPORTED
from .session_state import ALLOW
from .session_timer import SessionExpires
from .uri import OpaqueUri

Screen = Callable[[Request, Flow], Refusal | None]
"""Says of each new out-of-dialog request, before any state is made for it, why it is refused (None: let it in)."""

_ALLOWED = frozenset(ALLOW.split(", "))
# Methods of RFC 3261 and its extensions that we know and do not do.
_KNOWN = frozenset({"REGISTER", "SUBSCRIBE", "NOTIFY", "REFER", "MESSAGE", "PRACK", "PUBLISH"})
_NEEDS_DIALOG = frozenset({"BYE", "INFO", "UPDATE"})
_EXTENSIONS = frozenset(SUPPORTED.split(", "))


def refusal_in_dialog(request: Request) -> Refusal | None:
    """Why a request inside a dialog is refused."""
    return _method(request) or _extensions(request) or (_content(request) if request.method != "INFO" else None)


def refusal_of_request(request: Request) -> Refusal | None:
    """Why a request outside any dialog is refused."""
    refusal = _method(request) or _uri(request)
    if refusal is not None:
        return refusal
    if request.method in _NEEDS_DIALOG:
        return Refusal(481, "Call/Transaction Does Not Exist")
    # The last hop answers an OPTIONS that has no hops left (§11); anything else has gone in circles.
    if request.max_forwards == 0 and request.method != "OPTIONS":
        return Refusal(483, "Too Many Hops")
    return _extensions(request)


def refusal_of_invite(request: Request, min_se: int) -> Refusal | None:
    """Why a new INVITE cannot become a session. ParseError when Contact is malformed."""
    if not request.contacts:
        return Refusal(400, "Contact: missing in INVITE")
    asked = SessionExpires.of(request.headers)
    if asked is not None and asked.seconds < min_se and request.headers.has_token("Supported", "timer"):
        return Refusal(422, "Session Interval Too Small", (("Min-SE", str(min_se)),))
    return _content(request)


def _method(request: Request) -> Refusal | None:
    if request.method in _ALLOWED:
        return None
    if request.method in _KNOWN:
        return Refusal(405, "Method Not Allowed", (("Allow", ALLOW),))
    return Refusal(501, "Not Implemented", (("Allow", ALLOW),))


def _uri(request: Request) -> Refusal | None:
    if isinstance(request.uri, OpaqueUri) and request.uri.scheme != "tel":
        return Refusal(416, "Unsupported URI Scheme")
    return None


def _extensions(request: Request) -> Refusal | None:
    unknown = [tag for tag in request.headers.get_all("Require") if tag.lower() not in _EXTENSIONS]
    if not unknown:
        return None
    return Refusal(420, "Bad Extension", (("Unsupported", ", ".join(unknown)),))


def _content(request: Request) -> Refusal | None:
    if not request.body:
        return None
    if request.headers.get(
        "Content-Encoding",
    ) not in (None, "identity"):
        return Refusal(415, "Content-Encoding is not supported", (("Accept-Encoding", "identity"),))
    if request.content_type not in (None, SDP, "multipart/mixed"):
        return Refusal(415, "Unsupported Media Type", (("Accept", SDP),))
    return None
