"""The console's pages over a real socket: what they show, what they hide, and whom they let in."""

import asyncio
import json
import threading
import wave
from html.parser import HTMLParser

import aiohttp
import pytest
from support.console import LIVE, NASTY, PAST, TOKEN, Site, site

from trunkline.gateway.console import events, plot
from trunkline.gateway.console.call_page import CallPage
from trunkline.gateway.console.login import ATTEMPTS
from trunkline.gateway.console.words import Mask
from trunkline.gateway.http import Readiness
from trunkline.gateway.messages import LegStatus, MediaAlarm
from trunkline.gateway.record import Media, MediaReport, Moment, Received, Slice, StreamSlice, Turn

PAGES = ("/", "/alerts", "/calls", f"/calls/{LIVE}", f"/calls/{PAST}", f"/calls/{LIVE}/hangup")


class Checked(HTMLParser):
    """What every page must and must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.found.append((tag, attributes))
        if attributes.get("id"):
            self.ids.append(str(attributes["id"]))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)


def read(text: str) -> Checked:
    page = Checked()
    page.feed(text)
    return page


@pytest.mark.parametrize("path", [*PAGES, "/login", "/calls/99", "/static/none"])
async def test_every_page_keeps_other_sites_out(tmp_path, path):
    async with site(tmp_path) as console:
        response, _ = await console.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_well_made(tmp_path, path):
    async with site(tmp_path) as console:
        response, text = await console.get(path)
        assert response.status == 200
        page = read(text)
        assert len(page.ids) == len(set(page.ids))
        assert page.headings.count("h1") == 1
        assert page.headings[0] == "h1"
        tags = [tag for tag, _ in page.found]
        assert {"header", "main", "nav"} <= set(tags)
        assert 'href="#main"' in text
        inputs = [a for tag, a in page.found if tag == "input" and a.get("type") != "hidden"]
        labels = {a.get("for") for tag, a in page.found if tag == "label"}
        assert all(field["id"] in labels for field in inputs)
        assert not any("style" in a or any(name.startswith("on") for name in a) for _, a in page.found)
        assert all(a.get("src") for tag, a in page.found if tag == "script")


@pytest.mark.parametrize("path", PAGES)
async def test_numbers_are_hidden_and_what_was_said_is_escaped(tmp_path, path):
    async with site(tmp_path) as console:
        _, text = await console.get(path)
        assert "4155550134" not in text
        assert "15550123" not in text
        assert "<script>alert" not in text
        assert "+1415•••••34" in text or path == "/alerts"


async def test_numbers_and_keys_are_shown_where_that_is_configured(tmp_path):
    async with site(tmp_path, show_numbers=True) as console:
        _, text = await console.get(f"/calls/{PAST}")
        assert "+14155550134" in text
        assert "key pressed: 7" in text
        assert "<script>alert" not in text


async def test_the_live_page_says_who_how_long_and_how_it_sounds(tmp_path):
    async with site(tmp_path) as console:
        _, text = await console.get("/")
        for words in (
            "from",
            "reception",
            "vonage",
            "PCMU",
            "agent speaks",
            "2.87",
            "poor",
            "registered",
            "alive",
            "Ready",
        ):
            assert words in text
        assert "<title" in text
        assert "(1) Live · edge-1" in text
        assert "Calls on trunk vonage sound bad 1" in text
        assert "the carrier or access network before us" in text
        assert "14 of 16 bad slices" in text
        assert "alert channel slack: failing: 500" in text


async def test_what_is_wrong_stands_on_top(tmp_path):
    async with site(tmp_path) as console:
        console.gateway.ready = Readiness(reasons=["trunk vonage is failed: 403"], parts={"trunk vonage": "failed"})
        _, text = await console.get("/")
        assert text.index("Degraded") < text.index("trunk vonage is failed: 403") < text.index("Live calls")


async def test_a_dead_direction_and_present_losses_are_said(tmp_path):
    async with site(tmp_path) as console:
        for packets, lost in ((100, 0), (140, 10)):
            report = MediaReport(media=Media(received=Received(packets=packets, lost=lost)))
            console.watch.on_fact(LIVE, LegStatus(LIVE, "agent", None, None, 0.0, report))
        _, text = await console.get("/")
        assert "20 % lost now" in text
        console.watch.on_fact(LIVE, MediaAlarm(LIVE, "received", True, "nothing came"))
        _, text = await console.get("/")
        assert "no media received" in text


async def test_calls_of_the_last_hour_show_their_worst_slice(tmp_path):
    async with site(tmp_path) as console:
        console.watch.hour._wall = lambda: 1767323105.0 + 60
        _, text = await console.get("/")
        assert f'href="/calls/{PAST}"' in text.partition("Worst calls")[2]


async def test_a_call_has_its_plot_turns_words_and_ladder(tmp_path):
    async with site(tmp_path) as console:
        response, text = await console.get(f"/calls/{PAST}")
        assert response.status == 200
        assert text.count('class="plot wide"') == 2
        assert text.count('class="plot narrow"') == 2
        for words in ("caller interrupts the agent", "1,240 ms", "interrupted after", "INVITE sip:1•••••23@192.0.2.1"):
            assert words in text
        assert "bye +1415•••••34" in text
        assert "Hang up" not in text


async def test_the_page_of_a_call_of_a_day_is_bounded(tmp_path):
    async with site(tmp_path) as console:
        call = console.records.rows[0]
        call.duration_s = 86400.0
        call.timeline.slices = [Slice(10.0 * number, 10.0, StreamSlice(4.2)) for number in range(8640)]
        call.timeline.slices[5000] = Slice(50_000.0, 10.0, StreamSlice(1.23))
        call.timeline.moments = [Moment(5.0 * number, "turn") for number in range(5000)]
        call.turns = [Turn(number, "Are you there?", f"Yes, {number}.", 500.0) for number in range(4000)]
        _, text = await console.get(f"/calls/{PAST}")
        assert len(text) < 500_000
        assert "1.23" in text
        assert "Yes, 3999." in text
        for words in ("4600 more moments are left out", "3800 earlier exchanges are left out"):
            assert words in text


async def test_a_call_without_sip_messages_says_so(tmp_path):
    async with site(tmp_path) as console:
        _, text = await console.get(f"/calls/{LIVE}")
        assert "No SIP messages are kept of this call." in text


async def test_what_is_not_there_is_a_page_that_says_so(tmp_path):
    async with site(tmp_path) as console:
        response, text = await console.get("/calls/99")
        assert (response.status, "There is no such call." in text) == (404, True)
        console.records.broken = True
        response, text = await console.get("/calls/98")
        assert (response.status, "disk I/O error" in text) == (503, True)


async def test_recordings_play_from_their_directory_alone_also_in_ranges(tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for path in (recordings / "a.wav", tmp_path / "secret.wav"):
        with wave.open(str(path), "wb") as file:
            file.setparams((2, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(4000))
    (recordings / "link.wav").symlink_to(tmp_path / "secret.wav")
    async with site(recordings) as console:
        call = console.records.rows[0]
        call.recording = str(recordings / "a.wav")
        _, text = await console.get(f"/calls/{PAST}")
        assert "<audio controls" in text
        async with console.session.get(
            f"{console.origin}/calls/{PAST}/recording", headers={"Range": "bytes=4-7"}
        ) as part:
            assert (part.status, part.headers["Content-Type"], len(await part.read())) == (206, "audio/wav", 4)
            assert part.headers["X-Frame-Options"] == "DENY"
        for wrong in (
            tmp_path / "secret.wav",
            recordings / "link.wav",
            recordings / "../secret.wav",
            "/etc/passwd",
            "\0",
        ):
            call.recording = str(wrong)
            response, _ = await console.get(f"/calls/{PAST}/recording")
            assert response.status == 404


async def test_a_call_is_hung_up_by_a_form_of_ours_alone(tmp_path):
    async with site(tmp_path) as console:
        form = await console.form_token()
        path = f"/calls/{LIVE}/hangup"
        for origin, token in ((None, form), ("http://evil.example", form), ("", ""), ("", "wrong"), ("null", form)):
            response, _ = await console.post(path, origin, form=token)
            assert response.status == 403
        assert console.gateway.ended == []
        response, _ = await console.post(path, form=form)
        assert (response.status, response.headers["Location"]) == (303, f"/calls/{LIVE}")
        assert console.gateway.ended == [LIVE]
        response, text = await console.post(f"/calls/{PAST}/hangup", form=form)
        assert (response.status, "already ended" in text) == (409, True)


async def test_an_alert_is_acknowledged_under_a_name_that_is_kept(tmp_path):
    async with site(tmp_path) as console:
        form = await console.form_token()
        wanted = {"form": form, "alert": console.alerts.alerts[0].id, "next": "/alerts"}
        response, text = await console.post("/alerts/acknowledge", **wanted)
        assert (response.status, "Say who you are" in text) == (400, True)
        response, _ = await console.post("/alerts/acknowledge", by=f" Ada  Ö {NASTY}", **wanted)
        assert (response.status, response.headers["Location"]) == (303, "/alerts")
        assert console.alerts.acknowledged == [(console.alerts.alerts[0].id, f"Ada Ö {NASTY}")]
        kept = response.cookies["trunkline_name"]
        assert (kept["httponly"], kept["samesite"]) == (True, "Strict")
        _, text = await console.get("/alerts")
        assert "Ada Ö &lt;script&gt;" in text
        assert "owns it since" in text
        response, _ = await console.post("/alerts/acknowledge", **(wanted | {"alert": "none"}))
        assert response.status == 404


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\n"]
)
async def test_after_a_form_one_stays_here(tmp_path, target):
    async with site(tmp_path, TOKEN) as console:
        response, _ = await console.log_in(next=target)
        assert (response.status, response.headers["Location"]) == (303, "/")


async def test_without_a_session_pages_lead_to_the_login_and_tell_nothing(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        for path in (*PAGES, f"/calls/{PAST}/recording"):
            response, text = await console.get(path)
            assert response.status == 303
            assert response.headers["Location"].startswith("/login?next=%2F")
            assert text == ""
        response, _ = await console.get("/events")
        assert response.status == 401
        response, _ = await console.post("/alerts/acknowledge", alert="x", by="x", form="x")
        assert response.status == 303
        response, text = await console.get("/login?next=/alerts")
        assert response.status == 200
        assert "vonage" not in text
        assert (await console.get("/static/console.css"))[0].status == 200


async def test_the_token_opens_a_session_and_is_not_kept_by_the_browser(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        response, _ = await console.log_in(next="/alerts")
        cookie = response.cookies["trunkline_session"]
        assert (response.status, response.headers["Location"]) == (303, "/alerts")
        assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Strict", "/", "")
        assert TOKEN not in cookie.value
        _, text = await console.get("/")
        assert "Calls up" in text
        assert TOKEN not in text
        assert cookie.value not in text
        response, _ = await console.post("/logout", form=await console.form_token())
        assert response.headers["Location"] == "/login"
        console.session.cookie_jar.update_cookies(
            {"trunkline_session": cookie.value}, aiohttp.client.URL(console.origin)
        )
        assert (await console.get("/"))[0].status == 303


async def test_a_browser_that_came_by_https_gets_a_secure_cookie(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        response, _ = await console.post("/login", console.origin.replace("http:", "https:"), token=TOKEN)
        assert response.cookies["trunkline_session"]["secure"] is True


async def test_the_session_opens_no_api_and_the_bearer_no_page(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        await console.log_in()
        assert (await console.get("/api/calls"))[0].status == 401
        console.session.cookie_jar.clear()
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert (await console.get("/api/calls", headers=bearer))[0].status == 200
        assert (await console.get("/", headers=bearer))[0].status == 303


async def test_a_login_that_another_site_sends_is_refused(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        for origin in ("http://evil.example", "null", None):
            response, _ = await console.post("/login", origin, token=TOKEN)
            assert response.status == 403
            assert "trunkline_session" not in response.cookies


async def test_guessing_is_slowed_down(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        for _ in range(ATTEMPTS):
            response, text = await console.log_in("wrong")
            assert (response.status, "not the token" in text) == (401, True)
        response, _ = await console.log_in(TOKEN)
        assert response.status == 429
        assert int(response.headers["Retry-After"]) > 0


async def test_a_strangers_guesses_behind_the_same_proxy_keep_nobody_out_who_was_here_before(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        response, _ = await console.log_in()
        mark = response.cookies["trunkline_browser"]
        assert (mark["httponly"], mark["samesite"]) == (True, "Strict")
        await console.post("/logout", form=await console.form_token())
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as stranger:
            for wanted in [401] * ATTEMPTS + [429]:
                headers = {"Origin": console.origin}
                async with stranger.post(f"{console.origin}/login", data={"token": "x"}, headers=headers) as refused:
                    assert refused.status == wanted
        for _ in range(ATTEMPTS):
            assert (await console.log_in("wrong"))[0].status == 401
        assert (await console.log_in())[0].status == 429
        assert (await console.get("/", headers={"Cookie": f"trunkline_browser={mark.value}"}))[0].status == 303


async def test_a_new_login_ends_the_session_of_before(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        first = (await console.log_in())[0].cookies["trunkline_session"].value
        assert (await console.log_in())[0].cookies["trunkline_session"].value != first
        assert len(console.console._sessions) == 1


async def test_a_link_in_somebodys_chat_finds_the_session(tmp_path):
    async with site(tmp_path, TOKEN) as console:
        response, text = await console.get("/alerts", headers={"Sec-Fetch-Site": "cross-site"})
        assert (response.status, 'url=/alerts"' in text) == (200, True)


async def test_without_a_token_a_rebound_name_is_refused(tmp_path):
    async with site(tmp_path) as console:
        assert (await console.get("/", headers={"Host": "evil.example"}))[0].status == 403


async def messages(console: Site, path: str, count: int, over: bool = False) -> list[dict]:
    """The first `count` messages of a page; with `over` all until the one that says that it is."""
    found: list[dict] = []
    async with asyncio.timeout(10), console.session.get(console.origin + path) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Frame-Options"] == "DENY"
        async for line in response.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if len(found) == count or (over and "over" in found[-1]):
                    return found
    return found


async def test_an_open_page_is_told_everything_once_and_then_what_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "PERIOD_S", 0.05)
    async with site(tmp_path) as console:
        stream = asyncio.create_task(messages(console, "/events", 3))
        while not console.console._hub.listeners:
            await asyncio.sleep(0.01)
        first, *later = await stream
        assert f"c-{LIVE}" in first["rows"]["calls"]
        assert "4155550134" not in json.dumps(first)
        assert all(set(message) == {"now"} for message in later)


async def test_a_call_that_ends_has_its_page_loaded_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "PERIOD_S", 0.05)
    async with site(tmp_path) as console:
        stream = asyncio.create_task(messages(console, f"/events?call={LIVE}", 1000, over=True))
        while not console.console._hub.listeners:
            await asyncio.sleep(0.01)
        console.gateway.live.clear()
        assert (await stream)[-1]["over"] is True
        assert (await console.get(f"/events?call={LIVE}"))[0].status == 404


async def test_a_page_is_rendered_once_for_all_and_not_at_all_for_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "PERIOD_S", 0.05)
    async with site(tmp_path) as console:
        drawn = 0
        view = console.console._overview.view

        def counted():
            nonlocal drawn
            drawn += 1
            return view()

        monkeypatch.setattr(console.console._overview, "view", counted)
        streams = await asyncio.gather(*(messages(console, "/events", 3) for _ in range(5)))
        assert all(len(stream) == 3 for stream in streams)
        assert drawn < 15
        hub = console.console._hub
        async with asyncio.timeout(5):
            while hub.listeners or hub._ticking is not None:
                await asyncio.sleep(0.01)
        before = drawn
        await asyncio.sleep(0.2)
        assert drawn == before


async def test_open_pages_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "LISTENERS", 1)
    async with site(tmp_path) as console, console.session.get(f"{console.origin}/events") as first:
        assert first.status == 200
        response, _ = await console.get("/events")
        assert (response.status, response.headers["Retry-After"]) == (503, "30")


async def test_a_reader_that_does_not_read_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "PERIOD_S", 0.01)
    async with site(tmp_path) as console:
        console.gateway.ready.reasons = ["x" * 2_000_000]
        view = console.console._overview.view
        flips = iter(range(1_000_000))

        def changing():
            console.gateway.ready.reasons = [str(next(flips)) + "x" * 2_000_000]
            return view()

        monkeypatch.setattr(console.console._overview, "view", changing)
        host, port = console.origin.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        hub = console.console._hub
        async with asyncio.timeout(20):
            while not hub.listeners:
                await asyncio.sleep(0.01)
            while hub.listeners:
                await asyncio.sleep(0.01)
        writer.close()


async def test_a_session_that_ended_ends_its_open_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "PERIOD_S", 0.05)
    async with site(tmp_path, TOKEN) as console:
        await console.log_in()
        form = await console.form_token()
        stream = asyncio.create_task(messages(console, "/events", 1000))
        while not console.console._hub.listeners:
            await asyncio.sleep(0.01)
        await console.post("/logout", form=form)
        with pytest.raises(aiohttp.ClientError):
            await stream


async def test_the_server_stops_with_pages_open(tmp_path):
    async with site(tmp_path) as console, console.session.get(f"{console.origin}/events") as stream:
        assert stream.status == 200
        async with asyncio.timeout(5):
            await console.server.stop()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"token=\xff"),
        ({"Content-Type": "application/x-www-form-urlencoded; charset=none"}, b"token=x"),
        ({"Content-Encoding": "gzip"}, b"token=x"),
    ],
    ids=["no UTF-8", "no character set", "no gzip"],
)
async def test_a_form_that_cannot_be_read_is_refused_without_a_line_in_the_log(tmp_path, caplog, headers, body):
    async with site(tmp_path, TOKEN) as console:
        form = {"Origin": console.origin, "Content-Type": "application/x-www-form-urlencoded"} | headers
        async with console.session.post(f"{console.origin}/login", data=body, headers=form) as response:
            assert response.status == 400
    assert caplog.records == []


async def test_a_call_of_a_day_does_not_hold_the_loop(tmp_path, monkeypatch):
    async with site(tmp_path) as console:
        drawing = []
        monkeypatch.setattr(plot, "timeline", lambda *arguments: drawing.append(threading.current_thread()) or "")
        for path in (f"/calls/{PAST}", f"/calls/{LIVE}"):
            await console.get(path)
        assert drawing
        assert threading.main_thread() not in drawing


async def test_what_was_said_is_shown_though_it_is_known_late(tmp_path):
    async with site(tmp_path) as console:
        call = console.gateway.live[0]
        call.record.turns = [Turn(0, agent_said="Hello."), Turn(1), Turn(2)]
        page = CallPage(console.console._templates, Mask(show=False), console.watch, None)
        await page.view(call.record, call)
        call.record.turns[0].caller_said = "Is this the dentist?"
        assert "dentist" in (await page.view(call.record, call)).parts["turns"]
