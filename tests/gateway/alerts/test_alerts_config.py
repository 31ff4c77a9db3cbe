"""`[alerts]`: the example that people copy is valid, and secrets stay secret."""

import re
import tomllib
from pathlib import Path

import pytest

from trunkline.gateway.alerts.config import AlertsConfig
from trunkline.gateway.config import Config

ROOT = Path(__file__).parents[3]
SECRETS = {
    "slack-url": "https://hooks.example.com/T0KEN",
    "heartbeat-url": "https://beat.example.com/T0KEN",
    "pagerduty-key": "0123456789abcdef0123456789abcdef",
}


@pytest.fixture
def credentials(monkeypatch, tmp_path):
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))


def test_the_example_is_valid_once_its_number_signs_are_gone(credentials):
    text = (ROOT / "conf/trunkline.toml").read_text(encoding="utf-8")
    commented = text[text.index("[alerts]") :]
    config = Config(**tomllib.loads(re.sub(r"^# ?", "", commented, flags=re.MULTILINE))).alerts
    assert [rung.name for rung in config.on_call] == ["Ada", "Bo"]
    assert set(config.channels) == {"chat", "ada-pager", "ada-phone", "bo-phone"}
    assert config.heartbeat_url is not None


def test_no_secret_is_in_the_configuration_as_it_prints(credentials):
    alerts = {"heartbeat_url": "%heartbeat-url", "channels": {"chat": {"kind": "slack", "url": "%slack-url"}}}
    config = Config(alerts=alerts)
    assert "T0KEN" not in repr(config)
    assert "T0KEN" not in str(config.alerts)


def test_without_a_key_there_are_alerts_and_nobody_is_told():
    config = AlertsConfig()
    assert (config.enabled, config.on_call, config.notify, config.channels) == (True, [], [], {})
