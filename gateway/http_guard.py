"""Who may use the admin API, and how every refusal looks (RFC 9457 problem documents)."""

import hmac
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .addresses import is_loopback
from .errors import CallRefused, ConfigError, RecordsError

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without the token, for probes; what they tell depends on it."""

UNREADABLE = (web.RequestPayloadError, ConnectionError)
"""What reading a body raises that is packed wrongly, or whose sender went away."""

log = structlog.get_logger()


class Problem(Exception):
    """A refusal: becomes `application/problem+json` with this status and sentence."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """`body` as JSON; msgspec's structs may be in it."""
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")


def problem_response(request: web.Request, problem: Problem) -> web.Response:
    """RFC 9457 section 3; `title` is the status' own phrase, since no types of our own are defined."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.path,
    }
    return web.Response(
        body=msgspec.json.encode(body),
        status=problem.status,
        headers=problem.headers,
        content_type="application/problem+json",
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Everything that goes wrong leaves as a problem document."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem_response(request, problem)
    except CallRefused as refused:
        retry = {} if refused.retry_after_s is None else {"Retry-After": str(refused.retry_after_s)}
        return problem_response(request, Problem(refused.status, refused.reason, retry))
    except ConfigError as error:
        return problem_response(request, Problem(422, str(error)))
    except RecordsError as error:
        return problem_response(request, Problem(503, str(error)))
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return problem_response(request, Problem(error.status, _DETAILS.get(error.status, error.reason), allow))
    except UNREADABLE:
        return problem_response(request, Problem(400, "the body cannot be read"))
    except Exception:  # top frame: one request fails, the gateway goes on
        log.exception("an admin request failed", method=request.method, path=request.path)
        return problem_response(request, Problem(500, "the gateway failed to answer; its log says why"))


_DETAILS = {
    404: "there is no such resource",
    405: "this resource does not know the method; see the Allow header",
    413: "the body is too large",
}


def guard(token: str | None) -> Middleware:
    """With a token: the bearer must know it. Without: only this machine, and no web page that a browser here shows."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is None:
            _check_local(request)
        elif getattr(request.match_info.handler, "guards_itself", False):
            return await handler(request)  # a page of the console: a browser has a session, no bearer token
        elif request.path not in OPEN_PATHS and not bears(request, token):
            challenge = {"WWW-Authenticate": 'Bearer realm="trunkline"'}
            raise Problem(401, "the bearer token is missing or wrong", challenge)
        return await handler(request)

    return check


def bears(request: web.Request, token: str) -> bool:
    """True when the request carries the token; compared in constant time."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token.encode())
    return same and scheme.lower() == "bearer"


def _check_local(request: web.Request) -> None:
    """DNS rebinding makes a browser send a foreign Host; a foreign page sends its Origin."""
    if not is_local(request.headers.get("Host", "")):
        raise Problem(403, "the Host header names another machine; use the loopback address, or configure [http] token")
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
        raise Problem(403, "requests of web pages are refused; configure [http] token")


def is_local(host_header: str) -> bool:
    """True when a Host header names this machine."""
    host = host_header.rpartition(":")[0] if not host_header.endswith("]") and ":" in host_header else host_header
    return is_loopback(host)
