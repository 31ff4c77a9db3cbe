"""One POST of JSON for the channels that speak HTTP: bounded in time and size, and errors that hold no secret.

Only the host and the status of an answer are told: an address, a header or a body may be secret, or may quote one.
"""

import asyncio
import os
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from .base import DeliveryError
from .config import TlsTable
from .context import ChannelContext
from .tls import tls_context

ANSWER_MAX = 64 * 1024
"""Octets of an answer that are read; no provider's is near."""
OK = range(200, 300)
RETRY_AFTER_MAX_S = 3600.0
"""A far end that asks for a longer pause is asked again after this one, seconds."""

_LATER = (408, 425, 429)
"""Statuses below 500 after which the same request may be taken."""


class Poster:
    """Posts for one channel."""

    def __init__(self, name: str, config: TlsTable, context: ChannelContext) -> None:
        self._name = name
        self._context = context
        self._tls = tls_context(name, config)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str] = MappingProxyType({}), accepted: Container[int] = OK
    ) -> bytes:
        """The beginning of the body of an answer whose status is `accepted`. Raises DeliveryError otherwise."""
        try:
            async with asyncio.timeout(self._context.timeout_s):
                return await self._exchange(url, body, headers, accepted)
        except DeliveryError:
            raise
        except TimeoutError:
            reason, permanent = f"no answer within {self._context.timeout_s:g} s", False
        except aiohttp.ClientConnectorCertificateError:
            reason, permanent = "its certificate is not trusted; renew it, or set ca_file", True
        except aiohttp.ClientSSLError:
            reason, permanent = "speaks no TLS that is safe", False
        except aiohttp.ClientConnectorDNSError:
            reason, permanent = "its name cannot be resolved", False
        except aiohttp.ClientConnectorError as error:
            reason, permanent = f"cannot be reached: {os.strerror(error.errno) if error.errno else 'no reason'}", False
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason, permanent = f"the exchange failed: {type(error).__name__}", False
        raise self.failure(url, reason, permanent=permanent)

    def failure(self, url: str, reason: str, *, permanent: bool, retry_after_s: float | None = None) -> DeliveryError:
        """The error that says so of this far end; of the address only the host is told."""
        text = f"{self._name}: {urlsplit(url).hostname}: {reason}"
        return DeliveryError(text, permanent=permanent, retry_after_s=retry_after_s)

    async def _exchange(self, url: str, body: bytes, headers: Mapping[str, str], accepted: Container[int]) -> bytes:
        request = self._context.http().post(
            url,
            data=body,
            headers={"Content-Type": "application/json", "User-Agent": "Trunkline", **headers},
            # a redirect would carry secrets elsewhere
            allow_redirects=False,
            ssl=self._tls,
        )
        async with request as response:
            answer = await _beginning(response)
        if response.status not in accepted:
            raise self._refused(url, response)
        return answer

    def _refused(self, url: str, response: aiohttp.ClientResponse) -> DeliveryError:
        status = response.status
        final = status < 500 and status not in _LATER
        if 200 <= status < 300:
            # who stands between answers for the far end
            return self.failure(url, f"answered {status}, which is not its word for having it", permanent=False)
        remedy = "; give the address that it points to" if 300 <= status < 400 else ""
        pause = None if final else retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        return self.failure(url, f"answered {status}{remedy}", permanent=final, retry_after_s=pause)


def json_body(body: Any) -> bytes:
    """JSON in UTF-8."""
    return orjson.dumps(body)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 section 10.2.3), either form; None when there is none to be read."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        # the length first: a number of a million digits is slow to read
        return min(float(value[:9]), RETRY_AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """At most ANSWER_MAX octets; the session closes a connection that has more on it."""
    answer = bytearray()
    while len(answer) < ANSWER_MAX:
        chunk = await response.content.read(ANSWER_MAX - len(answer))
        if not chunk:
            return bytes(answer)
        answer += chunk
    return bytes(answer)
