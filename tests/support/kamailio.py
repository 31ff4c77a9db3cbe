"""Kamailio as a SIP trunk: digest registrar, Record-Route, calls relayed to numbers and to registered users.

The users of the trunk (`credentials`) must prove themselves for REGISTER (401) and INVITE (407). Whoever else calls
comes from the telephone network and needs no password, but may reach only the trunk's numbers. `numbers` maps a
number to a registered user, or to a fixed `sip:host:port` for a trunk that does not register.
"""

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

from .processes import Program, Programs
from .waiting import until

REALM = "trunk.example"

_CONFIGURATION = """#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=2
tcp_children=2
socket_workers=2
auto_aliases=no
dns=no
rev_dns=no
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
tcp_accept_no_cl=yes
http_reply_parse=yes

loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "auth.so"
loadmodule "htable.so"
loadmodule "jsonrpcs.so"
loadmodule "xhttp.so"

modparam("auth", "nonce_expire", {nonce_expire})
modparam("registrar", "max_expires", {max_expires})
modparam("registrar", "default_expires", {max_expires})
modparam("usrloc", "db_mode", 0)
modparam("rr", "enable_double_rr", 1)
modparam("rr", "append_fromtag", 1)
modparam("htable", "htable", "credentials=>size=6;")
modparam("htable", "htable", "numbers=>size=6;")
modparam("jsonrpcs", "transport", 1)

event_route[htable:mod-init] {{
{tables}
}}

event_route[xhttp:request] {{
    jsonrpc_dispatch();
}}

request_route {{
    xlog("L_NOTICE", "REQUEST $rm $proto:$si:$sp ru=$ru from=$fU to=$tU route=$(hdr(Route))\\n");
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (has_totag()) {{
        route(DIALOG);
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (is_method("ACK")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    t_check_trans();
    if (is_method("OPTIONS") && $rU == $null) {{
        options_reply();
        exit;
    }}
    if (is_method("REGISTER")) {{
        route(REGISTER);
        exit;
    }}
    if (!is_method("INVITE|OPTIONS|MESSAGE")) {{
        sl_send_reply("405", "Method Not Allowed");
        exit;
    }}
    route(CALL);
}}

route[DIALOG] {{
    if (!loose_route()) {{
        if (is_method("ACK") && t_check_trans()) {{
            t_relay();
            exit;
        }}
        xlog("L_ERR", "UNROUTED $rm $ru\\n");
        if (!is_method("ACK")) sl_send_reply("404", "Not Here");
        exit;
    }}
    if (is_method("INVITE")) record_route();
    t_relay();
}}

route[REGISTER] {{
    if ($sht(credentials=>$au) == $null || !pv_www_authenticate("{realm}", "$sht(credentials=>$au)", "0")) {{
        xlog("L_NOTICE", "CHALLENGED REGISTER $tU result=$rc\\n");
        www_challenge("{realm}", "1");
        exit;
    }}
    if ($au != $tU) {{
        sl_send_reply("403", "Not Your Address");
        exit;
    }}
    $var(wanted) = $(hdr(Expires){{s.int}});
    if ($(hdr(Contact){{param.value,expires}}) != "") {{
        $var(wanted) = $(hdr(Contact){{param.value,expires}}{{s.int}});
    }}
    if ($var(wanted) > 0 && $var(wanted) < {min_expires}) {{
        append_to_reply("Min-Expires: {min_expires}\\r\\n");
        sl_send_reply("423", "Interval Too Brief");
        exit;
    }}
    consume_credentials();
    if (save("location")) {{
        xlog("L_NOTICE", "REGISTERED $tU over $proto asked=$var(wanted)\\n");
    }}
}}

route[CALL] {{
    if ($sht(credentials=>$fU) != $null) {{
        if ($sht(credentials=>$au) == $null || !pv_proxy_authenticate("{realm}", "$sht(credentials=>$au)", "0")) {{
            xlog("L_NOTICE", "CHALLENGED $rm $fU result=$rc\\n");
            proxy_challenge("{realm}", "1");
            exit;
        }}
        consume_credentials();
    }} else if ($sht(numbers=>$rU) == $null) {{
        sl_send_reply("403", "Not A Number Of This Trunk");
        exit;
    }}
    record_route();
    $var(destination) = $sht(numbers=>$rU);
    if ($var(destination) =~ "^sip:") {{
        $du = $var(destination);
    }} else {{
        if ($var(destination) != 0 && $var(destination) != "") $rU = $var(destination);
        if (!lookup("location")) {{
            sl_send_reply("404", "Not Registered");
            exit;
        }}
    }}
    xlog("L_NOTICE", "RELAYED $rm from=$fU to=$tU next=$ru via=$du\\n");
    t_relay();
}}
"""


@dataclass
class Kamailio:
    """A trunk on 127.0.0.1:`port`, UDP and TCP."""

    programs: Programs
    port: int
    credentials: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    max_expires: int = 3600
    """Granted at most, seconds."""
    min_expires: int = 0
    """Asked for less: 423, seconds."""
    nonce_expire: int = 300
    """A nonce older than this is stale, seconds."""

    def __post_init__(self) -> None:
        self.directory = self.programs.directory / f"kamailio-{self.port}"
        self.directory.mkdir()
        self._program: Program | None = None
        self._mark = 0

    def start(self) -> None:
        """Start it and wait until it answers."""
        path = self.directory / "kamailio.cfg"
        path.write_text(self._configuration())
        binary = shutil.which("kamailio") or "/usr/sbin/kamailio"
        arguments = [binary, "-DD", "-E", "-m", "64", "-M", "8", "-f", path, "-Y", self.directory, "-w", self.directory]
        self._program = self.programs.start("kamailio", [*arguments, "-P", self.directory / "pid"])
        program = self._program
        until(lambda: self._answers(program), 15, f"Kamailio to answer on {self.port}:\n{program.tail()}", 0.05)

    def stop(self) -> None:
        """Stop it; its registrations are lost, as its memory is."""
        assert self._program is not None
        self._program.stop()

    @property
    def log(self) -> str:
        """What the running instance has written."""
        assert self._program is not None
        return self._program.output()

    def requests(self, method: str, user: str) -> list[str]:
        """The log lines of requests of `method` from `user`, oldest first."""
        return re.findall(rf"^.*REQUEST {method} .* from={re.escape(user)} .*$", self.log, re.MULTILINE)

    def registrations(self, user: str) -> list[str]:
        """The transport of every accepted REGISTER of `user`, oldest first."""
        return re.findall(rf"REGISTERED {re.escape(user)} over (\w+)", self.log)

    def contacts(self, user: str) -> list[dict[str, object]]:
        """What the registrar now holds for `user`; each has `Address` and `Expires` (seconds left)."""
        answer = self._call("ul.lookup", ["location", user])
        contacts = answer.get("result", {}).get("Contacts", [])
        return [entry["Contact"] for entry in contacts]

    def _configuration(self) -> str:
        tables = [f'    $sht(credentials=>{user}) = "{password}";' for user, password in self.credentials.items()]
        tables += [f'    $sht(numbers=>{number}) = "{target}";' for number, target in self.numbers.items()]
        return _CONFIGURATION.format(
            port=self.port,
            realm=REALM,
            tables="\n".join(tables),
            max_expires=self.max_expires,
            min_expires=self.min_expires,
            nonce_expire=self.nonce_expire,
        )

    def _answers(self, program: Program) -> bool:
        assert program.exit_status is None, f"Kamailio ended:\n{program.tail()}"
        try:
            return "result" in self._call("core.version", [])
        except OSError:
            return False

    def _call(self, method: str, parameters: list[str]) -> dict:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/RPC", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=3) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())
