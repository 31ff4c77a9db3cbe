"""A PJSIP phone in a process of its own: commands as JSON lines on standard input, events on standard output.

`pjsua2-pybind11` 0.1a3 binds no WAV player or recorder, so those two are PJSUA's own C functions, called in the
library that the module has loaded. So is its event loop: the module holds the interpreter's lock in every call, and
with a worker thread of PJSUA's own, which waits for that lock in a callback, the two deadlock. There is no sound
card: the null device keeps the conference bridge's clock.

Commands: {"do": "call", "uri": ...} {"do": "hang_up"} {"do": "dtmf", "digits": ...} {"do": "info", "digits": ...}
{"do": "hold"} {"do": "resume"} {"do": "quit"}. Events: {"event": ...} with what is known.
"""

import argparse
import ctypes
import json
import os
import select
import signal

import pjsua2


def say(event: str, **details: object) -> None:
    """Write one event."""
    os.write(1, (json.dumps({"event": event, **details}) + "\n").encode())


class _Text(ctypes.Structure):
    """pj_str_t."""

    _fields_ = (("ptr", ctypes.c_char_p), ("slen", ctypes.c_ssize_t))

    @classmethod
    def of(cls, text: str) -> "_Text":
        octets = text.encode()
        return cls(octets, len(octets))


def _loaded(name: str) -> ctypes.CDLL:
    with open("/proc/self/maps") as maps:
        path = next(line.split()[-1] for line in maps if f"/{name}-" in line)
    return ctypes.CDLL(path)


class Wav:
    """PJSUA's WAV player and recorder, joined to a call's port of the conference bridge."""

    def __init__(self, library: ctypes.CDLL, play: str | None, record: str | None) -> None:
        self._library = library
        self._play = play
        self._record = record
        self._player = ctypes.c_int(-1)
        self._recorder = ctypes.c_int(-1)

    def connect(self, port: int) -> None:
        """Play to and record from conference port `port`."""
        library = self._library
        if self._play and self._player.value < 0:
            name = _Text.of(self._play)
            self._check(library.pjsua_player_create(ctypes.byref(name), 1, ctypes.byref(self._player)))
        if self._record and self._recorder.value < 0:
            name = _Text.of(self._record)
            recorder = ctypes.byref(self._recorder)
            self._check(library.pjsua_recorder_create(ctypes.byref(name), 0, None, ctypes.c_ssize_t(0), 0, recorder))
        if self._player.value >= 0:
            self._check(library.pjsua_conf_connect(library.pjsua_player_get_conf_port(self._player), port))
        if self._recorder.value >= 0:
            self._check(library.pjsua_conf_connect(port, library.pjsua_recorder_get_conf_port(self._recorder)))

    def close(self) -> None:
        """Close both files; the recording's header is complete then."""
        if self._player.value >= 0:
            self._library.pjsua_player_destroy(self._player)
        if self._recorder.value >= 0:
            self._library.pjsua_recorder_destroy(self._recorder)
        self._player.value = self._recorder.value = -1

    @staticmethod
    def _check(status: int) -> None:
        if status != 0:
            say("wav_failed", status=status)


class PhoneCall(pjsua2.Call):
    """One call of the phone."""

    def __init__(self, phone: "Phone", call_id: int = -1) -> None:
        super().__init__(phone.account, call_id)
        self.phone = phone

    def onCallState(self, prm: object) -> None:  # the name is PJSUA's
        info = self.info
        state = info.stateText
        say("call_state", state=state, status=int(info.lastStatusCode), reason=info.lastReason, remote=info.remoteUri)
        if state == "DISCONNECTED":
            self.phone.wav.close()

    def onCallMediaState(self, prm: object) -> None:
        info = self.info
        for media in info.media:
            say("media_state", status=str(media.status), direction=int(media.dir), port=int(media.audioConfSlot))
            if "ACTIVE" in str(media.status).upper() and media.audioConfSlot >= 0:
                self.phone.wav.connect(media.audioConfSlot)

    def onDtmfDigit(self, prm: pjsua2.OnDtmfDigitParam) -> None:
        say("dtmf", digit=prm.digit)


class PhoneAccount(pjsua2.Account):
    """The phone's account: answers what comes in."""

    phone: "Phone"

    def onRegState(self, prm: pjsua2.OnRegStateParam) -> None:
        say("registration", status=int(prm.code), reason=prm.reason, expires=prm.expiration)

    def onIncomingCall(self, prm: pjsua2.OnIncomingCallParam) -> None:
        call = PhoneCall(self.phone, prm.callId)
        self.phone.calls.append(call)
        info = call.info
        say("incoming", remote=info.remoteUri, local=info.localUri)
        parameter = pjsua2.CallOpParam()
        for status in (180, self.phone.arguments.answer):
            parameter.statusCode = pjsua2.StatusCode(status)
            call.answer(parameter)


class Phone:
    """Endpoint, one account, its calls."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.calls: list[PhoneCall] = []
        self.endpoint = pjsua2.Endpoint()
        self.endpoint.libCreate()
        configuration = pjsua2.EpConfig()
        configuration.logConfig.level = 4
        configuration.logConfig.consoleLevel = 0
        configuration.logConfig.filename = arguments.log
        configuration.uaConfig.threadCnt = 0
        configuration.medConfig.noVad = True
        configuration.medConfig.ecTailLen = 0
        configuration.medConfig.clockRate = 8000
        self.endpoint.libInit(configuration)
        transport = pjsua2.TransportConfig()
        transport.port = arguments.port
        transport.boundAddress = "127.0.0.1"
        transport.publicAddress = "127.0.0.1"
        kind = pjsua2.TransportType.TCP if arguments.tcp else pjsua2.TransportType.UDP
        self.endpoint.transportCreate(kind, transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager.setNullDev()
        self.library = _loaded("libpjsua")
        self.wav = Wav(self.library, arguments.play, arguments.record)
        self.account = PhoneAccount()
        self.account.phone = self

    def register(self) -> None:
        """Create the account; it registers at once, if it has a registrar."""
        arguments = self.arguments
        configuration = pjsua2.AccountConfig()
        suffix = ";transport=tcp" if arguments.tcp else ""
        if not arguments.registrar:
            configuration.idUri = f"sip:{arguments.user}@127.0.0.1:{arguments.port}"
            self.account.create(configuration, True)
            return
        configuration.idUri = f"sip:{arguments.user}@{arguments.registrar}"
        configuration.regConfig.registrarUri = f"sip:{arguments.registrar}{suffix}"
        configuration.regConfig.timeoutSec = 300
        configuration.regConfig.registerOnAdd = True
        credentials = pjsua2.AuthCredInfo()
        credentials.scheme = "digest"
        credentials.realm = "*"
        credentials.username = arguments.user
        credentials.dataType = 0
        credentials.data = arguments.password
        vector = configuration.sipConfig.authCreds
        vector.append(credentials)
        configuration.sipConfig.authCreds = vector
        self.account.create(configuration, True)

    def run(self) -> None:
        """Handle events and commands until told to quit, or until standard input ends."""
        pending = b""
        while True:
            self.library.pjsua_handle_events(20)
            if not select.select([0], [], [], 0)[0]:
                continue
            octets = os.read(0, 65536)
            if not octets:
                return
            *lines, pending = (pending + octets).split(b"\n")
            for line in lines:
                try:
                    if not self.do(json.loads(line)):
                        return
                except RuntimeError as error:
                    say("failed", reason=str(error))

    def do(self, command: dict[str, str]) -> bool:
        """Run one command; False when it was the last."""
        parameter = pjsua2.CallOpParam()
        parameter.opt.audioCount = 1
        parameter.opt.videoCount = 0
        match command["do"]:
            case "call":
                call = PhoneCall(self)
                self.calls.append(call)
                call.makeCall(command["uri"], parameter)
            case "hang_up":
                parameter.statusCode = pjsua2.StatusCode(200)
                self.calls[-1].hangup(parameter)
            case "hold":
                self.calls[-1].setHold(parameter)
            case "resume":
                parameter.opt.flag = 1  # PJSUA_CALL_UNHOLD
                self.calls[-1].reinvite(parameter)
            case "dtmf":
                self.calls[-1].dialDtmf(command["digits"])
            case "info":
                keys = pjsua2.CallSendDtmfParam()
                keys.method = pjsua2.DtmfMethod(1)  # PJSUA_DTMF_METHOD_SIP_INFO
                keys.digits = command["digits"]
                self.calls[-1].sendDtmf(keys)
            case "quit":
                return False
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--registrar", default="", help="host:port; without one it is called at its own port")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", default="")
    parser.add_argument("--answer", type=int, default=200, help="final status for every call")
    parser.add_argument("--play")
    parser.add_argument("--record")
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--log", required=True)
    phone = Phone(parser.parse_args())
    say("ready", version=phone.endpoint.version.full)
    phone.register()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    phone.run()
    phone.wav.close()
    # The library's tear-down is not reliable with Python callbacks alive.
    os._exit(0)


if __name__ == "__main__":
    main()
