"""The configuration: what is accepted, and the sentence for each thing that is not."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.addresses import HostPort, ListenUrl, PortRange, SipServer, is_loopback
from trunkline.gateway.config import Config, load_config, load_tables, names_in
from trunkline.gateway.config_problems import dotted
from trunkline.gateway.errors import ConfigError
from trunkline.gateway.toml_lines import Lines

EXAMPLE = Path(__file__).parents[2] / "conf" / "trunkline.toml"
SECRETS = {"VONAGE_USERNAME": "trunk-user", "VONAGE_PASSWORD": "pa55word", "OPENAI_API_KEY": "sk-hidden"}
AGENT = '[agents.a]\nprovider = "openai"\napi_key = "k"\n'


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("TRUNKLINE_") or name in ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", *SECRETS):
            monkeypatch.delenv(name)


@pytest.fixture
def load(tmp_path):
    def from_text(text: str) -> Config:
        (tmp_path / "t.toml").write_text(text, encoding="utf-8")
        return load_config(tmp_path / "t.toml")

    return from_text


@pytest.fixture
def problems(load, tmp_path):
    """The problems of a text, with the file's folder left off."""

    def of(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return of


def test_the_example_is_valid_with_its_variables_set(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    config = load_config(EXAMPLE)
    assert config.trunks["vonage"].registers
    assert str(config.trunks["vonage"].server) == "sip:example.sip-us.vonage.com:5060;transport=udp"
    assert not config.trunks["vonage-direct"].registers
    assert [str(url) for url in config.sip.listen] == ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"]
    assert [route.fallback for route in config.routes] == [None, 480]
    assert config.agents["reception"].provider == "openai"
    password = config.trunks["vonage"].password
    assert password is not None
    assert password.get_secret_value() == "pa55word"
    assert not any(secret in repr(config) + str(config) + config.model_dump_json() for secret in ("pa55", "sk-hidden"))


def test_the_example_is_valid_with_all_that_it_shows(load, monkeypatch, tmp_path):
    credentials = {
        "http-token": "t",
        "heartbeat-url": "https://heartbeat.example/x",
        "slack-url": "https://slack.example/x",
        "pagerduty-key": "k" * 32,
    }
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for name, value in credentials.items():
        (tmp_path / name).write_text(value)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    shown = re.sub(r"^# (?=\w+ = |\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    config = load(shown)
    assert [rung.name for rung in config.alerts.on_call] == ["Ada", "Bo"]
    assert None not in (config.hep.collector, config.quality_report.collector, config.alerts.heartbeat_url)


def test_the_example_names_every_variable_that_is_missing():
    with pytest.raises(ConfigError) as caught:
        load_config(EXAMPLE)
    assert len(caught.value.problems) == 5
    for name in SECRETS:
        assert f"environment variable {name} is not set; set it, or write the value here" in str(caught.value)


def test_an_empty_file_has_the_defaults(load):
    config = load("")
    assert (config.gateway.max_calls, config.gateway.drain_s, config.rtp.ports.first) == (300, 30, 16384)
    assert str(config.http.listen) == "127.0.0.1:8080"
    assert config.gateway.worker_count == len(os.sched_getaffinity(0))
    assert load("[gateway]\nworkers = 0").gateway.worker_count == 0


def test_state_and_records_have_their_places(load, monkeypatch, tmp_path):
    assert load('[gateway]\nstate_dir = "/s"').records_url == "sqlite+aiosqlite:////s/calls.db"
    assert load('[records]\nurl = "sqlite:////x/c.db"').records_url == "sqlite+aiosqlite:////x/c.db"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert load("").gateway.state_dir == Path("/var/lib/a")


def test_rtp_advertises_its_own_address_or_that_of_sip(load):
    assert load('[sip]\npublic_address = "192.0.2.1"').rtp_public_address == "192.0.2.1"
    both = '[sip]\npublic_address = "192.0.2.1"\n[rtp]\npublic_address = "192.0.2.2"'
    assert load(both).rtp_public_address == "192.0.2.2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[gateway]\nlog_levl = 'info'", "t.toml:2: gateway.log_levl: unknown key; did you mean log_level?"),
        ("[gatway]\n", "t.toml:1: gatway: unknown key; did you mean gateway?"),
        (
            "[records]\n\nqqqq = 1",
            "t.toml:3: records.qqqq: unknown key; remove it, or use one of: url",
        ),
        ("[gateway]\nmax_calls = 0", "t.toml:2: gateway.max_calls: must be greater than or equal to 1"),
        ("[gateway]\nlog_level = 'loud'", "t.toml:2: gateway.log_level: must be 'debug', 'info', 'warning' or 'error'"),
        (
            "[gateway]\nworkers = 'many'",
            "t.toml:2: gateway.workers: must be 'auto' or a valid integer, unable to parse string as an integer",
        ),
        (
            "[sip]\nlisten = [\n 'udp://0.0.0.0:5060',\n 'tls://0.0.0.0:5061',\n]",
            "t.toml:2: sip.listen[1]: transport 'tls' is not supported, use udp or tcp",
        ),
        (
            "[sip]\nlisten = ['0.0.0.0:5060']",
            "t.toml:2: sip.listen[0]: expected a URL such as udp://0.0.0.0:5060 or tcp://0.0.0.0:5060",
        ),
        ("[rtp]\nports = '20000'", "t.toml:2: rtp.ports: expected FIRST-LAST such as 16384-32767"),
        ("[rtp]\nports = '20001-20002'", "t.toml:2: rtp.ports: the range holds no even port followed by an odd one"),
        (
            "[trunks.v]\nusername = 'u'",
            "t.toml:1: trunks.v: a trunk has exactly one of registrar (it registers) and peer (it does not)",
        ),
        (
            "[trunks.v]\nregistrar = 'sip:a'\npeer = 'sip:b'\nusername = 'u'",
            "t.toml:1: trunks.v: a trunk has exactly one of registrar (it registers) and peer (it does not)",
        ),
        (
            "[trunks.v]\nregistrar = 'sip:a'",
            "t.toml:1: trunks.v: a trunk that registers needs a username; add username",
        ),
        (
            "[trunks.v]\npeer = 'sip:user@host'",
            "t.toml:2: trunks.v.peer: expected a SIP URI such as sip:sip.example.com:5060;transport=udp, "
            "without a user part",
        ),
        (
            "[trunks.v]\npeer = 'sip:b'\ncodecs = ['PCMU', 'G729']",
            "t.toml:3: trunks.v.codecs[1]: must be 'opus', 'PCMU' or 'PCMA'",
        ),
        (
            "[trunks.v]\npeer = 'sip:b'\nsources = ['192.0.2.1/24']",
            "t.toml:3: trunks.v.sources: '192.0.2.1/24' is neither a network such as 192.0.2.0/24 nor a host name",
        ),
        ("[agents.a]\nprovider = 'nobody'", "t.toml:2: agents.a.provider: no such provider; use one of: "),
        ("[agents.a]\nvoice = 'x'", "t.toml:1: agents.a: the agent has no provider; add provider, one of: "),
        (
            AGENT + "turn_detection = { type = 'server_vad', silence_ms = 1 }",
            "t.toml:4: agents.a.turn_detection.silence_ms: unknown key; did you mean silence_duration_ms?",
        ),
        (AGENT + "voise = 'x'", "t.toml:4: agents.a.voise: unknown key; did you mean voice?"),
        (
            "[[routes]]\nto = '*'\nagent = 'x'",
            "t.toml:3: routes[0].agent: there is no [agents.x]; add it, or use one of: none",
        ),
        (
            AGENT + "[[routes]]\nto = '*'\nagent = 'a'\n\n[[routes]]\nto = '*'\nagent = 'a'\ntrunk = 't'",
            "t.toml:11: routes[1].trunk: there is no [trunks.t]; add it, or use one of: none",
        ),
        (
            AGENT + "[[routes]]\nto = '*'\nagent = 'a'\nfallback = 200",
            "t.toml:7: routes[0].fallback: must be the name of an agent, or a SIP status from 400 to 699",
        ),
        (
            "[http]\nlisten = '0.0.0.0:80'",
            "t.toml:1: http: listen = '0.0.0.0:80' is open to the network; set token, or listen on 127.0.0.1",
        ),
        (
            "[http]\ntoken = ''",
            "t.toml:1: http: the token is empty; give one, or remove the key and listen on 127.0.0.1",
        ),
        (
            "[records]\nurl = 'mysql://u:hunter2@h/d'",
            "t.toml:2: records.url: expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
        ),
        ("[alerts]\nenabled = 'maybe'", "t.toml:2: alerts.enabled: must be a valid boolean"),
        ("[alerts]\noncall = []", "t.toml:2: alerts.oncall: unknown key; did you mean on_call?"),
        (
            "[alerts]\nnotify = ['chat']",
            "t.toml:1: alerts: notify: there is no [alerts.channels.chat]; add it, or use one of: none",
        ),
        (
            "[[alerts.on_call]]\nname = 'Ada'\nchannels = ['pager']",
            "t.toml:1: alerts: on_call 'Ada': there is no [alerts.channels.pager]; add it, or use one of: none",
        ),
        (
            "[[alerts.on_call]]\nname = 'Ada'\nchannels = []",
            "t.toml:3: alerts.on_call[0].channels: must not be empty",
        ),
        (
            "[[alerts.on_call]]\nname = 'Ada'\nchannels = ['x']\ntimezone = 'Europe/Berlim'",
            "t.toml:4: alerts.on_call[0].timezone: there is no time zone 'Europe/Berlim'; use a name such as",
        ),
        (
            "[[alerts.on_call]]\nname = 'Ada'\nchannels = ['x']\nhours = ['Mon-Fry 08:00-18:00']",
            "t.toml:4: alerts.on_call[0].hours[0]: there is no day 'Fry'; use Mon, Tue",
        ),
        (
            "[[alerts.on_call]]\nname = 'Ada'\nchannels = ['x']\nhours = 'daily'",
            "t.toml:4: alerts.on_call[0].hours: must be a valid list",
        ),
        (
            "[[alerts.on_call]]\nname = 'Ada'\nchannels = ['x']\n" * 9,
            "t.toml:1: alerts.on_call: has 9 entries; 8 are the most",
        ),
        (
            "[alerts.channels.x]\nkind = 'slack'\nurl = 'https://h/hunter2'\nca_file = '/nowhere.pem'",
            "t.toml:4: alerts.channels.x.ca_file: /nowhere.pem: No such file or directory; give a PEM file",
        ),
        (
            f"[alerts.channels.x]\nkind = 'slack'\nurl = 'https://h/hunter2'\nca_file = '{EXAMPLE}'",
            f"t.toml:4: alerts.channels.x.ca_file: {EXAMPLE}: it holds no PEM certificate; give a PEM file",
        ),
        (
            "[alerts.channels.x]\nkind = 'alertmanager'\nurls = ['http://h:9093/api/v2/alerts']",
            "t.toml:3: alerts.channels.x.urls[0]: the path of the API is added by the gateway; remove /api/v2/alerts",
        ),
        (
            "[alerts.channels.x]\nkind = 'slack'\nurl = 'https://h/hunter2'\ntoken = 'hunter2'",
            "t.toml:4: alerts.channels.x.token: unknown key; remove it, or use one of: ca_file, kind, url, verify_tls",
        ),
        ("alerts = []", "t.toml:1: alerts: must be a table"),
        (
            "[alerts]\nnotify = ['x', 'x']\n[alerts.channels.x]\nkind = 'slack'\nurl = 'https://h/hunter2'",
            "t.toml:1: alerts: notify: a channel is named twice; remove one",
        ),
        ("hep = 3", "t.toml:1: hep: must be a table"),
        ("[alerts.channels]\nx = 'slack'", "t.toml:2: alerts.channels.x: must be a table"),
        ("[sip]\nlisten = [5060]", "t.toml:2: sip.listen[0]: must be text"),
        ("[http]\nlisten = 80", "t.toml:2: http.listen: must be text"),
        ("[hep]\ncollector = 'homer:9060'", "t.toml:2: hep.collector: expected a URL such as udp://homer.example.com"),
        ("[hep]\ncapture_id = -1", "t.toml:2: hep.capture_id: must be greater than or equal to 0"),
        (
            "[quality_report]\ncollector = 'https://vq.example.com'",
            "t.toml:2: quality_report.collector: expected a SIP URI such as sip:vq@collector.example.com:5060",
        ),
        ("[hep]\ncapture_id = 7", "t.toml:1: hep: there is no collector; add it, or remove the other keys"),
        (
            "[quality_report]\nusername = 'a'\npassword = 'hunter2'",
            "t.toml:1: quality_report: there is no collector; add it, or remove the other keys",
        ),
        (
            "[quality_report]\ncollector = 'sip:vq:hunter2@vq.example.com'",
            "t.toml:2: quality_report.collector: the URI holds a password, which would travel in clear; use username",
        ),
        (
            "[quality_report]\npassword = 'hunter2'",
            "t.toml:1: quality_report: an account has a username and a password; add the other one",
        ),
        ("[flight]\nkeep = 'some'", "t.toml:2: flight.keep: must be 'bad', 'all' or 'none'"),
        ("[flight]\nmax_gb = 1", "t.toml:2: flight.max_gb: unknown key; did you mean max_mb?"),
        ("[http]\nshow_numbers = 'some'", "t.toml:2: http.show_numbers: must be a valid boolean"),
        ("[alerts.channels.x]\nkind = 'fax'", "t.toml:2: alerts.channels.x.kind: no such kind; use one of: pagerduty"),
        ("[gateway\n", "t.toml:1: not valid TOML: "),
        ("a = 1\na = 2\n", "t.toml:2: not valid TOML: Cannot overwrite a value; correct the syntax"),
    ],
)
def test_each_mistake_is_one_sentence_with_file_line_key_and_remedy(problems, text, expected):
    (problem,) = problems(text)
    assert problem.startswith(expected)
    assert "hunter2" not in problem


def test_each_worker_needs_a_port_pair(problems, load):
    text = "[gateway]\nworkers = 3\n[rtp]\nports = '20000-20003'\n"
    (problem,) = problems(text)
    assert ":4: rtp.ports: 2 port pair(s) cannot be shared by 3 workers; widen the range" in problem
    assert load(text.replace("3\n", "2\n", 1)).rtp.ports.pairs == 2


def test_names_of_what_is_no_table_are_none(tmp_path):
    (tmp_path / "t.toml").write_text("agents = 3\n")
    assert names_in(tmp_path / "t.toml", "agents") == []


def test_several_mistakes_are_listed_together_in_the_order_of_the_file(problems):
    text = (
        "[gateway]\nname = ''\nport = 1\n[trunks.v]\npeer = 'sip:b'\nusername = '$NOT_THERE'\n[[routes]]\nagent = 'x'\n"
    )
    assert problems(text) == [
        "t.toml:2: gateway.name: string should have at least 1 character",
        "t.toml:3: gateway.port: unknown key; remove it, or use one of: drain_s, log_format, log_level, max_calls, "
        "name, state_dir, workers",
        "t.toml:6: trunks.v.username: environment variable NOT_THERE is not set; set it, or write the value here",
        "t.toml:7: routes[0].to: is required; add it",
        "t.toml:8: routes[0].agent: there is no [agents.x]; add it, or use one of: none",
    ]


def test_no_secret_is_in_any_error(problems, monkeypatch):
    monkeypatch.setenv("HIDDEN", "hunter2")
    text = (
        "[http]\ntoken = '$HIDDEN'\nlisten = '$HIDDEN'\n"
        "[trunks.v]\npeer = 'sip:b'\npassword = '$HIDDEN'\nexpires = '$HIDDEN'"
    )
    listed = problems(text)
    assert len(listed) == 2
    assert "hunter2" not in "".join(listed)


def test_a_credential_of_systemd(load, monkeypatch, tmp_path):
    (tmp_path / "sip-password").write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = load("[trunks.v]\npeer = 'sip:b'\nusername = 'u'\npassword = '%sip-password'")
    password = config.trunks["v"].password
    assert password is not None
    assert password.get_secret_value() == "hunter2"


def test_a_credential_that_is_not_there(problems, monkeypatch, tmp_path):
    text = "[trunks.v]\npeer = 'sip:b'\nusername = '%who'"
    assert problems(text) == [
        "t.toml:3: trunks.v.username: systemd credential who is asked for, but CREDENTIALS_DIRECTORY is not set; "
        "add LoadCredential=who:PATH to the unit"
    ]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert problems(text) == [
        "t.toml:3: trunks.v.username: systemd credential who cannot be read (No such file or directory); "
        "add LoadCredential=who:PATH to the unit"
    ]


def test_a_credential_stays_inside_its_directory(load):
    config = load("[trunks.v]\npeer = 'sip:b'\nusername = '%../x'")
    assert config.trunks["v"].username == "%../x"


def test_the_environment_overrides_the_file(load, monkeypatch):
    monkeypatch.setenv("TRUNKLINE_GATEWAY__LOG_LEVEL", "debug")
    monkeypatch.setenv("TRUNKLINE_TRUNKS__V__PASSWORD", "12345")
    monkeypatch.setenv("TRUNKLINE_SIP__LISTEN", '["tcp://127.0.0.1:0"]')
    monkeypatch.setenv("TRUNKLINE_HTTP__LISTEN", "127.0.0.1:9090")
    monkeypatch.setenv("TRUNKLINE_REQUIRE_PEERS", "1")
    config = load("[gateway]\nlog_level = 'info'\n[trunks.v]\npeer = 'sip:b'\nusername = 'u'")
    assert config.gateway.log_level == "debug"
    assert [str(url) for url in config.sip.listen] == ["tcp://127.0.0.1:0"]
    assert str(config.http.listen) == "127.0.0.1:9090"
    password = config.trunks["v"].password
    assert password is not None
    assert password.get_secret_value() == "12345"


def test_a_mistake_in_the_environment_names_its_variable(problems, monkeypatch):
    monkeypatch.setenv("TRUNKLINE_GATEWAY__MAX_CALLS", "lots")
    (problem,) = problems("")
    assert problem.startswith("environment variable TRUNKLINE_GATEWAY__MAX_CALLS: gateway.max_calls: must be a valid")
    monkeypatch.delenv("TRUNKLINE_GATEWAY__MAX_CALLS")
    monkeypatch.setenv("TRUNKLINE_SIP__LISTEN", "udp://0.0.0.0:5060")
    (problem,) = problems("")
    assert problem.startswith("environment variable TRUNKLINE_SIP__LISTEN: sip.listen: must be a valid list")
    monkeypatch.setenv("TRUNKLINE_SIP__LISTEN", "[udp://0.0.0.0:5060]")
    (problem,) = problems("")
    assert problem.endswith("write lists and tables as JSON")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin").write_bytes(b"name = '\xe9'")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(tmp_path / "latin")


def test_some_tables_alone_need_no_secret_of_the_others():
    assert load_tables(EXAMPLE, "gateway", "records").gateway.name == "edge-1"
    assert names_in(EXAMPLE, "agents") == ["reception"]


def test_a_configuration_can_be_made_in_code():
    config = Config.model_validate({"trunks": {"v": {"peer": "sip:127.0.0.1:5080"}}})
    assert config.trunks["v"].server == SipServer(host="127.0.0.1", port=5080)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ListenUrl, "udp://0.0.0.0:5060"),
        (ListenUrl, "tcp://[::1]:5070"),
        (SipServer, "sip:sip.example.com"),
        (SipServer, "sip:[2001:db8::1]:5061;transport=tcp"),
        (HostPort, "[::1]:8080"),
        (PortRange, "16384-32767"),
    ],
)
def test_addresses_print_as_they_are_written(kind, text):
    assert str(kind.parse(text)) == text


def test_a_port_range_counts_its_pairs():
    assert PortRange.parse("16384-32767").pairs == 8192
    assert PortRange.parse("20001-20004").pairs == 1
    assert PortRange.parse("20000-20001").pairs == 1


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text):
    for kind in (ListenUrl, SipServer, HostPort, PortRange):
        try:
            kind.parse(text)
        except ValueError:
            continue
    is_loopback(text)


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "localhost.example.com", "")))


def test_lines_of_keys():
    lines = Lines(
        '# comment\ntop = 1\n\n[a]\nlong = """\n[not.a.table]\nx = 1\n"""\nlist = [\n 1,\n 2,\n]\n'
        '[a."b c".d]\ny.z = 1\n'
        "[[r]]\nk = 1\n[[r]]\n# x\nk = { in = 1 }\n[r.sub]\nm = 1\n"
    )
    assert lines.of(("top",)) == 2
    assert lines.of(("a", "long")) == 5
    assert lines.of(("a", "list", 1)) == 9
    assert lines.of(("a", "b c", "d", "y", "z")) == 14
    assert lines.of(("r", 0, "k")) == 16
    assert lines.of(("r", 1, "k", "in")) == 19
    assert lines.of(("r", 1, "missing")) == 17
    assert lines.of(("r", 1, "sub", "m")) == 21
    assert lines.of(("nowhere",)) is None


def test_locations_as_a_person_writes_them():
    assert dotted(("routes", 1, "agent")) == "routes[1].agent"
    assert dotted(()) == ""
