"""Debian's Chromium without a screen, driven by the DevTools protocol over its websocket.

async with Chromium(programs) as browser:
    page = await browser.open("http://127.0.0.1:8080/", width=360, dark=True)
    await page.until("document.title.startsWith('(1)')")
    assert page.complaints == []
"""

import asyncio
import base64
import json
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from .processes import Program, Programs

START_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 20.0
KEYS = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, "")}


class Page:
    """One tab."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.complaints: list[str] = []
        """Errors, exceptions, refused requests and violations of the page's security policy."""
        self.requests: list[str] = []
        """Every URL that was asked for."""
        self.loads = 0
        """How often a document was loaded."""
        self._session = session
        self._url = url
        self.name = url.rpartition("/")[2]
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._loaded = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, width: int, height: int, dark: bool) -> None:
        self._socket = await self._session.ws_connect(self._url, max_msg_size=0)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.resize(width, height)
        await self.colours(dark)

    async def resize(self, width: int, height: int) -> None:
        """Set the window, CSS pixels; below 500 as a phone."""
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    async def colours(self, dark: bool) -> None:
        """What the user prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])

    async def go(self, url: str) -> None:
        """Load a page; returns when it has loaded."""
        self._loaded.clear()
        await self.command("Page.navigate", url=url)
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until the page that is being loaded has loaded."""
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await self._loaded.wait()

    async def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page; its value."""
        answer = await self._evaluate(expression)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def _evaluate(self, expression: str) -> dict[str, Any]:
        return await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )

    async def until(self, expression: str, timeout_s: float = 15.0) -> Any:
        """Wait for the first true value of an expression; between two pages it may fail."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            answer = await self._evaluate(expression)
            if "exceptionDetails" not in answer and (value := answer["result"].get("value")):
                return value
            assert loop.time() < deadline, f"after {timeout_s:g} s still not: {expression}"
            await asyncio.sleep(0.05)

    async def press(self, key: str) -> None:
        """One key, by its name or as text."""
        name, code, text = KEYS.get(key, (key, 0, key))
        event = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        await self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        await self.command("Input.dispatchKeyEvent", type="keyUp", **event)

    async def type(self, text: str) -> None:
        """Into what has the focus."""
        await self.command("Input.insertText", text=text)

    async def show(self) -> None:
        """Bring its tab to the front; the others are then not seen."""
        await self.command("Page.bringToFront")

    async def screenshot(self, path: Path, whole: bool = True) -> None:
        """As PNG."""
        answer = await self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            return await answer

    async def forget(self) -> None:
        """No cookies of before."""
        await self.command("Network.clearBrowserCookies")

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await self._socket.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if "error" in message:
                    answer.set_exception(AssertionError(message["error"]))
                elif not answer.done():
                    answer.set_result(message["result"])
            else:
                self._note(message["method"], message["params"])

    def _note(self, method: str, event: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self.loads += 1
                self._loaded.set()
            case "Page.frameStartedNavigating" | "Page.frameRequestedNavigation":
                self._loaded.clear()
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(event["exceptionDetails"]["exception"].get("description", "exception"))
            case "Runtime.consoleAPICalled" if event["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(event["args"]))
            case "Log.entryAdded" if event["entry"]["level"] in ("error", "warning"):
                self.complaints.append(event["entry"]["text"])


class Chromium:
    """One browser of a test, its profile in the test's directory."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._program: Program | None = None
        self._session: aiohttp.ClientSession | None = None
        self._pages: list[Page] = []

    async def __aenter__(self) -> Self:
        profile = self._programs.directory / f"chromium-{secrets.token_hex(4)}"
        profile.mkdir()
        command = [
            "chromium",
            "--headless=new",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        self._program = self._programs.start("chromium", command)
        self._session = aiohttp.ClientSession()
        try:
            self._port = await self._started(profile / "DevToolsActivePort")
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _started(self, file: Path) -> int:
        assert self._program is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            while not (file.exists() and file.read_text().strip()):
                assert self._program.exit_status is None, f"chromium ended:\n{self._program.tail()}"
                await asyncio.sleep(0.05)
        return int(file.read_text().split()[0])

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for page in self._pages:
            await page.close()
        if self._session is not None:
            await self._session.close()
        if self._program is not None:
            await asyncio.to_thread(self._program.stop)

    async def forget(self) -> None:
        """Close all tabs, and what pages have left with the browser."""
        assert self._session is not None
        for page in self._pages:
            await page.forget()
            await page.close()
            async with self._session.put(f"http://127.0.0.1:{self._port}/json/close/{page.name}"):
                pass
        self._pages.clear()

    async def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = True) -> Page:
        """A new tab that has loaded this page."""
        assert self._session is not None
        async with self._session.put(f"http://127.0.0.1:{self._port}/json/new?about:blank") as response:
            address = (await response.json())["webSocketDebuggerUrl"]
        page = Page(self._session, address)
        self._pages.append(page)
        await page.connect(width, height, dark)
        await page.go(url)
        return page
