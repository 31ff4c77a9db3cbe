"""The console's pages: who may see them, what they answer, and the headers that keep other sites out.

| request | answer |
| --- | --- |
| GET / | what goes on now |
| GET /calls?number=&since=&… | search of past calls |
| GET /calls.csv, /calls.json | what it finds, as a file; numbers are masked here, too |
| GET /calls/{id} | one call, live or past |
| GET /calls/{id}/recording | its sound, also in ranges |
| GET, POST /calls/{id}/hangup | asks; ends it |
| GET /alerts, POST /alerts/acknowledge | open and past alerts; somebody owns one |
| GET /events?page=, ?call= | the changes of a page as server-sent events |
| GET, POST /login, POST /logout | with `[http] token` |
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import structlog
from aiohttp import web

from ..config_tables import HttpConfig
from ..errors import GatewayError, RecordsError
from ..flight.ladder import SipLadder
from ..http import Gateway, LiveCall, Records
from ..http_guard import UNREADABLE, Problem
from ..record import CallRecord
from ..record_export import exported
from .call_page import CallPage
from .events import Hub, Render
from .login import KEPT_S, Attempts, Browsers, Session, Sessions, knows
from .overview import Overview
from .search import masked, query_of, search
from .sources import Alerts
from .templates import HERE, environment
from .view import View
from .watch import CallWatch
from .words import Mask

SESSION_COOKIE, NAME_COOKIE, BROWSER_COOKIE = "trunkline_session", "trunkline_name", "trunkline_browser"
NAME_LENGTH = 60
COOKIE_KEPT_S = 365 * 86400
SEEDED = 200
"""Calls of before the start that are looked at for the last hour."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # not `no-referrer`: with it a browser sends `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

log = structlog.get_logger(__name__)

Page = Callable[[web.Request, Session], Awaitable[web.StreamResponse]]


class Console:
    """All pages; `routes` puts them into the admin API's server."""

    def __init__(
        self,
        config: HttpConfig,
        name: str,
        recordings_dir: Path,
        gateway: Gateway,
        records: Records,
        watch: CallWatch,
        alerts: Alerts | None = None,
        ladder: SipLadder | None = None,
    ) -> None:
        """`name` is the gateway's. Without `alerts` there are none; without `ladder` no SIP messages are shown."""
        self._token = config.token.get_secret_value() if config.token else None
        self._mask = Mask(config.show_numbers)
        self._recordings_dir = recordings_dir
        self._gateway = gateway
        self._records = records
        self._watch = watch
        self._alerts = alerts
        self._ladder = ladder
        self._sessions = Sessions()
        self._browsers = Browsers(self._token or "")
        self._attempts = {"browser": Attempts(), "address": Attempts()}
        self._anyone = Session(0.0)
        """Without a token: this machine's users, who have the forms' secret from our pages."""
        self._hub = Hub()
        self._seeded = False
        self._static = {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())}
        self._templates = environment(self._mask, name)
        self._templates.globals["static"] = {
            name: f"/static/{name}?{hashlib.sha256(content).hexdigest()[:12]}" for name, content in self._static.items()
        }
        self._overview = Overview(self._templates, gateway, records, watch, alerts)

    def routes(self) -> list[web.RouteDef]:
        """What to answer; all of it guards itself."""
        call = "/calls/{id:[0-9A-Za-z-]{1,64}}"
        return [
            web.get("/static/{name}", self._open(self._file)),
            web.get("/login", self._open(self._login_page)),
            web.post("/login", self._open(self._log_in)),
            web.post("/logout", self._form(self._log_out)),
            web.get("/", self._page(self._live)),
            web.get("/events", self._page(self._events), allow_head=False),
            web.get("/alerts", self._page(self._alerts_page)),
            web.post("/alerts/acknowledge", self._form(self._acknowledge)),
            web.get("/calls", self._page(self._search)),
            web.get("/calls.{form:csv|json}", self._page(self._export)),
            web.get(call, self._page(self._call)),
            web.get(f"{call}/recording", self._page(self._recording)),
            web.get(f"{call}/hangup", self._page(self._ask_hang_up)),
            web.post(f"{call}/hangup", self._form(self._hang_up)),
        ]

    async def close(self, application: web.Application | None = None) -> None:
        """End the streams."""
        await self._hub.close()

    # Who may come in

    def _open(self, page: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        """For everybody."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._answer(request, page(request))

        return _guarding_itself(answer)

    def _page(self, page: Page) -> Any:
        """For those who are logged in."""

        async def answer(request: web.Request) -> web.StreamResponse:
            session = self._session(request)
            if session is None:
                return self._to_login(request)
            return await self._answer(request, page(request, session))

        return _guarding_itself(answer)

    def _form(self, page: Page) -> Any:
        """For those who are logged in, and sent a form of ours."""

        async def checked(request: web.Request, session: Session) -> web.StreamResponse:
            fields = await _fields(request)
            if not session.owns(fields.get("form", "")):
                raise Problem(403, "This form is out of date. Go back, load the page again, and send it once more.")
            return await page(request, session)

        return self._page(checked)

    async def _answer(self, request: web.Request, answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """Whatever goes wrong is a page, too."""
        try:
            return _secured(await answer)
        except Problem as problem:
            return self._refuse(problem.status, problem.detail, problem.headers)
        except RecordsError as error:
            return self._refuse(503, str(error))
        except GatewayError as error:
            return self._refuse(getattr(error, "status", 503), str(error))
        except web.HTTPException as error:
            return self._refuse(error.status, error.reason)
        except UNREADABLE:
            return self._refuse(400, "The form cannot be read.")
        except Exception:  # top frame: one page fails, the gateway goes on
            log.exception("a console page failed", method=request.method, path=request.path)
            return self._refuse(500, "The gateway failed to answer; its log says why.")

    def _refuse(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
        title = HTTPStatus(status).phrase
        return _secured(self._render("problem.html", status=status, title=title, detail=detail, extra=headers))

    def _session(self, request: web.Request) -> Session | None:
        if self._token is None:
            return self._anyone
        return self._sessions.find(request.cookies.get(SESSION_COOKIE, ""), time.monotonic())

    def _to_login(self, request: web.Request) -> web.Response:
        if request.path == "/events":
            return _secured(web.Response(status=401, text="not logged in"))
        if request.method == "GET" and request.headers.get("Sec-Fetch-Site") == "cross-site":
            # a Strict cookie does not come along from a link in somebody's chat: ask once more from here
            return _secured(self._render("again.html", again=_local(request.path_qs)))
        return _see(f"/login?next={quote(request.path_qs if request.method == 'GET' else '/', safe='')}")

    async def _login_page(self, request: web.Request) -> web.Response:
        target = _local(request.query.get("next", "/"))
        if self._session(request) is not None:
            return _see(target)
        return self._render("login.html", target=target, wrong=False)

    async def _log_in(self, request: web.Request) -> web.Response:
        fields = await _fields(request)
        target, source, now = _local(fields.get("next", "/")), request.remote or "", time.monotonic()
        if self._token is None:
            return _see(target)
        browser = self._browsers.known(request.cookies.get(BROWSER_COOKIE, ""))
        attempts, place = self._attempts["browser" if browser else "address"], browser or source
        wait_s = attempts.wait_s(place, now)
        if wait_s > 0:
            seconds = str(int(wait_s) + 1)
            raise Problem(429, f"Too many wrong tokens. Try again in {seconds} s.", {"Retry-After": seconds})
        if not knows(fields.get("token", ""), self._token):
            attempts.failed(place, now)
            log.warning("console login refused", source=source)
            return self._render("login.html", status=401, target=target, wrong=True)
        self._sessions.close(request.cookies.get(SESSION_COOKIE, ""))
        secret, _ = self._sessions.open(now)
        log.info("console login", source=source)
        response = _see(target)
        # the browser itself says how it came here; a proxy's word is not needed
        secure = request.headers.get("Origin", "").startswith("https://")
        mark = self._browsers.mark()
        for name, value, kept_s in ((SESSION_COOKIE, secret, int(KEPT_S)), (BROWSER_COOKIE, mark, COOKIE_KEPT_S)):
            response.set_cookie(name, value, max_age=kept_s, httponly=True, samesite="Strict", secure=secure, path="/")
        return response

    async def _log_out(self, request: web.Request, _session: Session) -> web.Response:
        self._sessions.close(request.cookies.get(SESSION_COOKIE, ""))
        response = _see("/login")
        response.del_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Strict")
        return response

    # Pages

    def _render(
        self, template: str, *, status: int = 200, extra: Mapping[str, str] | None = None, **values: Any
    ) -> web.Response:
        values.setdefault("session", None)
        values.setdefault("here", "")
        html = self._templates.get_template(template).render(
            status=status, now=time.time(), with_login=self._token is not None, **values
        )
        return web.Response(text=html, status=status, content_type="text/html", headers=extra)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        content = self._static.get(name)
        if content is None:
            raise Problem(404, "There is no such file.")
        response = web.Response(body=content, content_type=STATIC_TYPES[Path(name).suffix], charset="utf-8")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    async def _live(self, request: web.Request, session: Session) -> web.Response:
        await self._seed()
        await self._overview.prepare()
        return self._render("live.html", here="/", session=session, view=self._overview.view(), by=_name(request))

    async def _seed(self) -> None:
        """The first look after a start: calls of the last hour that ended before it."""
        if not self._seeded:
            self._seeded = True
            try:
                self._watch.hour.seed(await self._records.list(SEEDED))
            except RecordsError as error:
                self._seeded = False
                log.warning("the console cannot read the last hour's calls", reason=str(error))

    async def _alerts_page(self, request: web.Request, session: Session) -> web.Response:
        view = self._overview.alerts_view()
        return self._render("alerts.html", here="/alerts", session=session, view=view, by=_name(request))

    async def _acknowledge(self, request: web.Request, _session: Session) -> web.Response:
        fields = await _fields(request)
        by = _tidy(fields.get("by", "")) or _name(request)
        if not by:
            raise Problem(400, "Say who you are: the others should know who owns the alert.")
        if self._alerts is None:
            raise Problem(404, "There are no alerts.")
        alert = await self._alerts.acknowledge(fields.get("alert", ""), by)
        log.info("alert acknowledged in the console", alert=alert.id, by=by)
        response = _see(_local(fields.get("next", "/alerts")))
        response.set_cookie(NAME_COOKIE, quote(by), max_age=COOKIE_KEPT_S, httponly=True, samesite="Strict", path="/")
        return response

    async def _search(self, request: web.Request, session: Session) -> web.Response:
        results = await search(request.query, self._records, self._mask)
        news = View(parts=self._overview.news("Calls"))
        status = 400 if results.problem else 200
        return self._render("search.html", status=status, here="/calls", session=session, view=news, results=results)

    async def _export(self, request: web.Request, _session: Session) -> web.StreamResponse:
        query, form = query_of(request.query), request.match_info["form"]
        return await exported(request, self._records, query, form, lambda record: masked(record, self._mask), HEADERS)

    async def _call(self, request: web.Request, session: Session) -> web.Response:
        live = self._live_call(request.match_info["id"])
        record = live.record if live is not None else await self._recorded(request.match_info["id"])
        view = await CallPage(self._templates, self._mask, self._watch, self._ladder).view(record, live)
        view.parts |= self._overview.news("Call")
        heard = live is None and await asyncio.to_thread(self._recording_of, record) is not None
        return self._render(
            "call.html", here=request.path, session=session, view=view, record=record, live=live, recording=heard
        )

    def _live_call(self, call_id: str) -> LiveCall | None:
        return next((call for call in self._gateway.live_calls() if call.record.id == call_id), None)

    async def _recorded(self, call_id: str) -> CallRecord:
        record = await self._records.get(call_id)
        if record is None:
            raise Problem(404, "There is no such call.")
        return record

    async def _recording(self, request: web.Request, _session: Session) -> web.StreamResponse:
        record = await self._recorded(request.match_info["id"])
        path = await asyncio.to_thread(self._recording_of, record)
        if path is None:
            raise Problem(404, "There is no recording of this call.")
        return web.FileResponse(path, headers={"Content-Type": "audio/wav"})

    def _recording_of(self, record: CallRecord) -> Path | None:
        """Where the sound is; None when there is none, or the record names a file that is none of ours."""
        if not record.recording:
            return None
        try:
            path = Path(record.recording).resolve(strict=True)
            ours = path.is_relative_to(self._recordings_dir.resolve()) and path.is_file()
        except (OSError, ValueError, RuntimeError):
            return None
        return path if ours and path.suffix == ".wav" else None

    async def _ask_hang_up(self, request: web.Request, session: Session) -> web.Response:
        live = self._live_call(request.match_info["id"])
        if live is None:
            return _see(f"/calls/{request.match_info['id']}")
        return self._render("hangup.html", session=session, record=live.record)

    async def _hang_up(self, request: web.Request, _session: Session) -> web.Response:
        call_id = request.match_info["id"]
        if not self._gateway.hang_up(call_id):
            raise Problem(409, "The call has already ended.")
        log.info("call hung up in the console", call=call_id, source=request.remote)
        return _see(f"/calls/{call_id}")

    # What changes

    async def _events(self, request: web.Request, _session: Session) -> web.StreamResponse:
        name, render = await self._topic(request)
        cookie = request.cookies.get(SESSION_COOKIE, "")

        def alive() -> bool:
            return self._token is None or self._sessions.find(cookie, time.monotonic()) is not None

        return await self._hub.serve(request, name, render, alive, HEADERS | {"X-Accel-Buffering": "no"})

    async def _topic(self, request: web.Request) -> tuple[str, Render]:
        call_id = request.query.get("call")
        if call_id is not None:
            if self._live_call(call_id) is None:
                # it may have ended while its page was not seen: that is told as its end would have been
                await self._recorded(call_id)
            return f"call {call_id}", self._call_render(call_id)
        if request.query.get("page") == "alerts":
            return "alerts", self._render_alerts
        return "live", self._render_live

    async def _render_live(self) -> View:
        await self._overview.prepare()
        return self._overview.view()

    async def _render_alerts(self) -> View:
        return self._overview.alerts_view()

    def _call_render(self, call_id: str) -> Render:
        page = CallPage(self._templates, self._mask, self._watch, self._ladder)

        async def render() -> View:
            live = self._live_call(call_id)
            if live is None:
                return View(over=True)
            view = await page.view(live.record, live)
            view.parts |= self._overview.news("Call")
            return view

        return render


def _guarding_itself(handler: Any) -> Any:
    handler.guards_itself = True
    return handler


def _secured(response: web.StreamResponse) -> Any:
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response


def _see(target: str) -> web.Response:
    """Go there with GET."""
    return _secured(web.Response(status=303, headers={"Location": target}))


def _local(target: str) -> str:
    """A page of ours, whatever was asked for."""
    fine = target.startswith("/") and not target.startswith("//") and target.isprintable() and "\\" not in target
    return target if fine else "/"


async def _fields(request: web.Request) -> dict[str, str]:
    """What a form of our own sent: a page of another site can neither hide its Origin nor choose it."""
    if request.headers.get("Origin", "").partition("://")[2] != request.headers.get("Host", "-"):
        raise Problem(403, "This form came from another site. Behind a proxy, have it pass the Host header on.")
    if request.content_type != "application/x-www-form-urlencoded":
        raise Problem(415, "This is no form.")
    try:
        sent = await request.post()
    except (UnicodeDecodeError, LookupError):
        raise Problem(400, "The form is in no character set that is known here.") from None
    return {name: value for name, value in sent.items() if isinstance(value, str)}


def _tidy(name: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())[:NAME_LENGTH]


def _name(request: web.Request) -> str:
    return _tidy(unquote(request.cookies.get(NAME_COOKIE, "")))
