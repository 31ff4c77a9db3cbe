"""The console in a real browser: it updates itself, works by keyboard and on a phone, and breaks no rule of its own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.chromium import Chromium, Page
from support.console import LIVE, PAST, TOKEN, site
from support.lab import USER, LabGateway
from support.peers import require
from support.ports import HOST

from trunkline.gateway.http import Readiness

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHONE = 360
FOCUS = "document.activeElement.id"
FOCUS_SHOWS = """
    document.activeElement === document.body  // on the way round, past the last element
    || getComputedStyle(document.activeElement).outlineStyle !== 'none'
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(module_programs) -> AsyncIterator[Chromium]:
    require("chromium")
    async with Chromium(module_programs) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def browser(chromium) -> AsyncIterator[Chromium]:
    """One for all tests, which each finds as if it had never been used."""
    yield chromium
    await chromium.forget()


async def tab_to(page: Page, condition: str, most: int = 40) -> None:
    """Press Tab until this is true of what has the focus; each step has to be visible."""
    for _ in range(most):
        await page.press("Tab")
        assert await page.run(FOCUS_SHOWS)
        if await page.run(condition):
            return
    raise AssertionError(f"no Tab leads to: {condition}")


async def test_a_live_call_comes_changes_and_goes_without_a_reload(browser, programs, ports):
    async with LabGateway(programs, ports) as gateway:
        await gateway.start()
        origin = f"http://{HOST}:{gateway.http_port}"
        page = await browser.open(origin + "/")
        await page.until("document.body.dataset.feed === 'live'")
        assert await page.run("document.querySelectorAll('#calls tr').length") == 0
        caller = await gateway.call("+14155550134")
        await page.until("document.querySelectorAll('#calls tr').length === 1")
        assert "+1415•••••34" in await page.run("document.querySelector('#calls tr').innerText")
        await page.until("/speaks|silence/.test(document.querySelector('#calls .doing').innerText)")
        await page.until("document.querySelector('#calls .mos').innerText.includes('.')")
        shown = await page.run("document.querySelector('#calls .time').innerText")
        await page.until(f"document.querySelector('#calls .time').innerText !== '{shown}'")
        assert "media-1" in await page.run("document.querySelector('#workers').innerText")
        call = await page.run("document.querySelector('#calls a').href")

        other = await browser.open(call, width=PHONE, height=740, dark=False)
        await other.until("document.body.dataset.feed === 'live'")
        assert "INVITE sip:" in await other.run("document.querySelector('#sip').innerText")
        caller.hang_up()
        await other.until("document.querySelector('#head').innerText.includes('ended by caller')")
        await page.show()
        await page.until("document.querySelectorAll('#calls tr').length === 0")
        assert (page.loads, other.loads) == (1, 2)
        assert [url for url in page.requests + other.requests if not url.startswith(origin)] == []
        assert page.complaints + other.complaints == []
        gateway.assert_sound()


async def test_an_alert_is_acknowledged_by_keyboard_alone(browser, tmp_path):
    async with site(tmp_path) as console:
        page = await browser.open(console.origin + "/")
        await page.until("document.body.dataset.feed === 'live'")
        assert await page.run("document.title") == "(1) Live · edge-1"
        await page.press("Tab")
        assert await page.run("document.activeElement.className") == "skip"
        await tab_to(page, f"{FOCUS} === 'by'")
        await page.type("Ada")
        await tab_to(page, f"{FOCUS}.startsWith('ack-')")
        # what comes meanwhile takes neither the focus nor what was typed, and is not read aloud for its figures
        news = await page.run("document.querySelector('#alert-news').innerText")
        assert news == "1 open alert: page, trunk vonage, quality"
        console.alerts.alerts[0].summary = "It has become worse"
        await page.until("document.querySelector('#alerts h3').innerText === 'It has become worse'")
        assert await page.run("document.querySelector('#alert-news').innerText") == news
        assert await page.run(f"{FOCUS}.startsWith('ack-')")
        assert await page.run("document.getElementById('by').value") == "Ada"
        await page.press("Enter")
        await page.until("document.querySelector('#alerts')?.innerText.includes('Ada owns it')")
        assert console.alerts.acknowledged == [(console.alerts.alerts[0].id, "Ada")]
        console.alerts.alerts.clear()
        await page.until("document.title === 'Live · edge-1'")
        assert await page.run("document.getElementById('acknowledge').hidden")
        assert page.complaints == []


async def test_hanging_up_asks_first(browser, tmp_path):
    async with site(tmp_path) as console:
        page = await browser.open(f"{console.origin}/calls/{LIVE}")
        await tab_to(page, "document.activeElement.dataset.dialog === 'hangup'")
        await page.press("Enter")
        await page.until("document.getElementById('hangup').open")
        assert await page.run("document.activeElement.innerText") == "Keep it"
        await page.press("Escape")
        await page.until("!document.getElementById('hangup').open")
        assert console.gateway.ended == []
        assert await page.run("document.activeElement.dataset.dialog") == "hangup"
        await page.press("Enter")
        await page.until("document.getElementById('hangup').open")
        await tab_to(page, "document.activeElement.matches('dialog button.danger')")
        await page.press("Enter")
        while not console.gateway.ended:
            await page.until("true")
        assert console.gateway.ended == [LIVE]


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
async def test_a_phone_needs_no_sideways_scrolling(browser, tmp_path, dark):
    async with site(tmp_path) as console:
        console.gateway.ready = Readiness(
            reasons=["trunk " + "x" * 80 + " is failed"],
            parts={
                "trunk a-trunk-of-thirty-characters-xx": "unreachable",
                "worker media-1": "alive",
                "worker media-2": "down",
            },
        )
        console.gateway.live[0].record.agent = "an-agent-with-a-very-long-name-indeed"
        console.alerts.alerts[0].summary = "w" * 90
        past = console.records.rows[0]
        past.agent, past.trunk, past.end_reason = "a" * 60, "t" * 60, "r" * 200
        ground = {True: "rgb(15, 19, 21)", False: "rgb(244, 246, 246)"}[dark]
        paths = (
            "/",
            "/alerts",
            "/calls",
            "/calls?since=never",
            "/login",
            f"/calls/{LIVE}",
            f"/calls/{PAST}",
            f"/calls/{LIVE}/hangup",
            "/calls/99",
        )
        page = await browser.open("about:blank", width=PHONE, height=740, dark=dark)
        for path in paths:
            await page.go(console.origin + path)
            await page.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
            assert await page.run("document.scrollingElement.scrollWidth") == PHONE, path
            assert await page.run("getComputedStyle(document.body).backgroundColor") == ground
            assert [text for text in page.complaints if "404" not in text and "400" not in text] == []
            if path.startswith("/calls/01"):
                shown = "[...document.querySelectorAll('.plot')].map((plot) => plot.checkVisibility())"
                assert await page.run(shown) in ([False, True, False, True], [])


async def test_without_javascript_the_page_says_how_to_refresh_it(browser, tmp_path):
    async with site(tmp_path) as console:
        page = await browser.open("about:blank")
        await page.command("Emulation.setScriptExecutionDisabled", value=True)
        await page.go(console.origin + "/")
        text = await page.run("document.body.innerText")
        assert "Load it again" in text
        assert "+1415•••••34" in text


async def test_logging_in_and_out(browser, tmp_path):
    async with site(tmp_path, TOKEN) as console:
        page = await browser.open(console.origin + "/alerts")
        await page.until(f"{FOCUS} === 'token'")
        await page.type("wrong")
        await page.press("Enter")
        await page.until(f"document.body.innerText.includes('not the token') && {FOCUS} === 'token'")
        await page.type(TOKEN)
        await page.press("Enter")
        await page.until("location.pathname === '/alerts' && document.body.dataset.feed === 'live'")
        assert await page.run("document.cookie") == ""
        assert TOKEN not in await page.run("document.documentElement.outerHTML")
        await tab_to(page, "document.activeElement.matches('.logout button')")
        await page.press("Enter")
        await page.until("location.pathname === '/login'")
        assert [text for text in page.complaints if "401" not in text] == []


async def test_a_page_that_is_not_up_to_date_says_so(browser, tmp_path):
    async with site(tmp_path) as console:
        page = await browser.open(console.origin + "/")
        await page.until("document.body.dataset.feed === 'live'")
        await console.server.stop()
        await page.until("document.body.dataset.feed === 'lost'")
        assert "Not live" in await page.run("document.querySelector('.feed').innerText")


async def test_a_real_alert_is_owned_by_keyboard_alone(browser, programs, ports):
    dead = {"registrar": f"sip:{HOST}:{ports.take()};transport=tcp", "username": USER, "password": "$LAB_PASSWORD"}
    async with LabGateway(programs, ports, alerts__rules__trunk_down={"for_s": 1}) as gateway:
        gateway.write_config(trunks__gone=dead | {"codecs": ["PCMU"]})
        await gateway.start(ready=False)
        await gateway.until_readyz(503, reason="trunk gone")
        page = await browser.open(f"http://{HOST}:{gateway.http_port}/")
        await page.until("document.title.startsWith('(1)') && document.body.dataset.feed === 'live'")
        assert "trunk gone" in await page.run("document.querySelector('#alerts').innerText")
        await tab_to(page, f"{FOCUS} === 'by'")
        await page.type("Ada")
        await tab_to(page, f"{FOCUS}.startsWith('ack-')")
        await page.press("Enter")
        await page.until("document.querySelector('#alerts')?.innerText.includes('Ada owns it')")
        (alert,) = (await gateway.ask("GET", "/api/alerts")).json["alerts"]
        assert (alert["state"], alert["acknowledged_by"]) == ("acknowledged", "Ada")
        assert page.complaints == []


async def test_pages_in_tabs_that_are_not_seen_leave_their_connections_to_the_others(browser, tmp_path):
    async with site(tmp_path) as console:
        first = await browser.open(f"{console.origin}/calls/{LIVE}")
        # more than the connections that a browser has for one address
        for _ in range(7):
            last = await browser.open(console.origin + "/alerts")
        await last.until("document.body.dataset.feed === 'live'")
        assert await first.run("document.body.dataset.feed") == "rest"
        console.gateway.live.clear()
        console.records.rows[0].id = LIVE
        await first.show()
        await first.until("document.querySelector('#head').innerText.includes('2026-01-02')")
