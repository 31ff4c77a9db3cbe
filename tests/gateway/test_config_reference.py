"""What the pages say of each key of the configuration: that it is there, and its default."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from trunkline.gateway.alerts.channels.config import (
    AlertmanagerConfig,
    EmailConfig,
    PagerDutyConfig,
    SlackConfig,
    TlsTable,
    WebhookConfig,
)
from trunkline.gateway.alerts.channels.telephone import TelephoneConfig
from trunkline.gateway.alerts.config import AlertsConfig, RungConfig
from trunkline.gateway.bridges.base import AgentConfig, providers
from trunkline.gateway.bridges.base import load as load_provider
from trunkline.gateway.config import Config
from trunkline.gateway.config_tables import (
    GatewayConfig,
    HepConfig,
    HttpConfig,
    QualityReportConfig,
    RecordsConfig,
    RouteConfig,
    RtpConfig,
    SipConfig,
    TrunkConfig,
)
from trunkline.gateway.flight.config import FlightConfig

DOCS = Path(__file__).parents[2] / "docs"

REFERENCE: list[tuple[str, type[BaseModel]]] = [
    ("`[gateway]`", GatewayConfig),
    ("`[sip]`", SipConfig),
    ("`[rtp]`", RtpConfig),
    ("`[trunks.NAME]`", TrunkConfig),
    ("`[agents.NAME]`", AgentConfig),
    *((f'`provider = "{name}"`', load_provider(name).config) for name in providers() if name != "announcement"),
    ("`[[routes]]`", RouteConfig),
    ("`[http]`", HttpConfig),
    ("`[records]`", RecordsConfig),
    ("`[flight]`", FlightConfig),
    ("`[hep]`", HepConfig),
    ("`[quality_report]`", QualityReportConfig),
    ("`[alerts]`", AlertsConfig),
    ("`[[alerts.on_call]]`", RungConfig),
]
CHANNELS: list[tuple[str, type[BaseModel]]] = [
    ("PagerDuty", PagerDutyConfig),
    ("Alertmanager", AlertmanagerConfig),
    ("Webhook", WebhookConfig),
    ("Mail", EmailConfig),
    ("The telephone", TelephoneConfig),
]
_COMMON = {*TlsTable.model_fields, "kind"}
"""Said once for all channels."""


def _section(page: str, heading: str) -> str:
    """The text under the heading that begins so, down to the next heading."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}.*?$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {heading}"
    return found[1]


def _said(section: str) -> dict[str, str]:
    """Key → its default, as the section's table of keys has them."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*?) \| ", section, re.MULTILINE)
    return {key: default for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}


def _default(model: type[BaseModel], key: str) -> Any:
    """As the file would have it; None where there is none, or where it is a table of its own."""
    field = model.model_fields[key]
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(value, list):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, (int, float, str, dict)) else str(value)


def _literal(text: str) -> Any:
    """What a default in backticks is in TOML; None for words and for the names of other keys."""
    code = re.fullmatch(r"`([^`]+)`", text)
    try:
        return tomllib.loads(f"value = {code[1]}")["value"] if code else None
    except tomllib.TOMLDecodeError:
        return None


def test_every_table_has_a_section():
    tables = {re.split(r"[.\]]", heading.strip("`["))[0] for heading, _ in REFERENCE if heading.startswith("`[")}
    assert set(Config.model_fields) - tables == set()


@pytest.mark.parametrize(("heading", "model"), REFERENCE, ids=lambda value: getattr(value, "__name__", value))
def test_each_key_has_its_row(heading, model):
    said = set(_said(_section("configuration.md", heading)))
    if issubclass(model, AgentConfig):
        assert said <= set(model.model_fields)
        said |= set(_said(_section("configuration.md", "`[agents.NAME]`")))
        # a bridge that calls no functions has no row for them
        said |= {"tools"}
    assert set(model.model_fields) == said


@pytest.mark.parametrize(("heading", "model"), CHANNELS, ids=lambda value: getattr(value, "__name__", value))
def test_each_key_of_a_channel_has_its_row(heading, model):
    assert set(model.model_fields) - _COMMON == set(_said(_section("alerts.md", heading)))


def test_keys_of_channels_without_a_table_are_named():
    page = (DOCS / "alerts.md").read_text(encoding="utf-8")
    keys = {*_COMMON, *SlackConfig.model_fields}
    assert [key for key in sorted(keys) if f"`{key}" not in page and f"{key} = " not in page] == []


@pytest.mark.parametrize(
    ("page", "heading", "model"),
    [("configuration.md", *one) for one in REFERENCE] + [("alerts.md", *one) for one in CHANNELS],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_default_is_true(page, heading, model):
    for key, text in _said(_section(page, heading)).items():
        if key not in model.model_fields:
            continue
        literal, default = _literal(text), _default(model, key)
        assert (text == "required") == model.model_fields[key].is_required(), f"{key}: {text}"
        if literal is not None:
            assert literal == default, f"{key}: {text}, but it is {default!r}"
        elif isinstance(default, (int, float)):
            pytest.fail(f"{key}: {text}, but it is {default!r}")
