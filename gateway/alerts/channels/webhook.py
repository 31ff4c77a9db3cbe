"""A signed POST to any address: for whatever the other channels do not speak.

The signature is HMAC-SHA256 over `TIMESTAMP.BODY`, in `X-Trunkline-Signature: t=TIMESTAMP,v1=HEX`, one `v1` for each
key. Who receives computes it over the octets as they came, and refuses a timestamp that is minutes old.
"""

import hashlib
import hmac
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from .base import Answer, Channel, Delivery
from .config import WebhookConfig
from .context import ChannelContext
from .http_post import Poster, json_body
from .text import words

VERSION = 1
"""Of the body. It rises when a field is removed or changes its meaning; new fields may come at any time."""


class WebhookChannel(Channel):
    """One address."""

    def __init__(self, name: str, config: WebhookConfig, context: ChannelContext) -> None:
        self._config = config
        self._context = context
        self._poster = Poster(name, config, context)

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Post one event. When it is posted again, `X-Trunkline-Event` is the same and the signature a new one."""
        body = json_body(event(delivery, self._context))
        secrets = [secret.get_secret_value() for secret in self._config.secrets]
        headers = {
            "X-Trunkline-Event": delivery.id,
            "X-Trunkline-Signature": signature(body, int(time.time()), secrets),
        }
        await self._poster.post(self._config.url.get_secret_value(), body, headers)
        return None

    async def close(self) -> None:
        """Nothing is held."""


def signature(body: bytes, timestamp: int, secrets: Iterable[str]) -> str:
    """The header's value; `timestamp` in seconds of Unix time."""
    signed = b"%d." % timestamp + body
    digests = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={timestamp}", *(f"v1={digest}" for digest in digests)])


def event(delivery: Delivery, context: ChannelContext) -> dict[str, Any]:
    """The body, as `docs/alerts.md` has it."""
    told, alert = words(delivery, context), delivery.alert
    return {
        "version": VERSION,
        "id": delivery.id,
        "action": delivery.action,
        "created_at": delivery.created_at,
        "gateway": context.gateway,
        "person": delivery.person,
        "dedup_key": alert.dedup_key(context.gateway),
        "title": told.title,
        "alert": msgspec.to_builtins(alert),
        "links": {
            "alert": told.link,
            "calls": {call: url for call in alert.calls if (url := context.call_url(call))},
        },
    }
