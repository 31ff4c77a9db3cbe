"""Taking the credentials out of a SIP message that is to be kept or shown to others.

It works on the octets as they came, so that a message that cannot be parsed is as safe as one that can. Each secret is
replaced by as many `x`: all lengths, the Content-Length among them, stay true.
"""

import re

_MASK = bytes(octet if octet in b" \t\r\n" else ord("x") for octet in range(256))
_BLANK = rb"(?:[ \t]|\r?\n[ \t])*+"
_LINE_START = rb"(?<![^\r\n])"

_CREDENTIALS = re.compile(
    _LINE_START
    + rb"((?:proxy-)?(?:authorization|authentication-info)"
    + _BLANK
    + rb":)"
    + rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE,
)
_PARAM = (
    rb"([!#$%&'*+.^_`|~0-9a-z-]++)(" + _BLANK + rb"=" + _BLANK + rb')("(?:[^"\\]|\\.)*+"|[^\s",;]++)(' + _BLANK + rb")"
)
_EACH_PARAM = re.compile(_PARAM, re.IGNORECASE | re.DOTALL)
_PARAMS = _BLANK + _PARAM + rb"(?:," + _BLANK + _PARAM + rb")*+\r?"
_DIGEST = re.compile(rb"(?:" + _BLANK + rb"digest(?=\s))?+(?P<params>" + _PARAMS + rb")", re.IGNORECASE | re.DOTALL)
_HARMLESS = frozenset(
    (b"username", b"realm", b"nonce", b"nextnonce", b"uri", b"algorithm", b"cnonce", b"opaque", b"qop", b"nc")
)
"""What RFC 7616 sends in clear beside the answer; without the answer nobody can try passwords."""

_PASSWORD = re.compile(rb"(sips?:[\w.!~*'()%&=+$,;?/-]*+:)([\w\x80-\xff.!~*'()%&=+$,-]++)(?=@)", re.IGNORECASE)
_KEY = re.compile(
    _LINE_START
    + rb"(a=crypto:[ \t]*+(?:[0-9]++[ \t]++)?+(?:\w++[ \t]++)?+(?:inline:)?+|a=key-mgmt:|a=ice-pwd:|k=)([^\r\n]++)",
    re.IGNORECASE,
)


def without_credentials(data: bytes) -> bytes:
    """The message, of the same length, without what lets somebody else pass for its sender or decrypt its media: the
    answer of a digest (all of the value for any other scheme, and for a digest that is not well formed), the password
    in a SIP URI, and keys in SDP (RFC 4568, 4567, 8839, and `k=`). Takes linear time, and never raises."""
    data = _CREDENTIALS.sub(_mask_credentials, data)
    data = _PASSWORD.sub(_mask_value, data)
    return _KEY.sub(_mask_value, data)


def _mask_value(found: re.Match[bytes]) -> bytes:
    return found[1] + found[2].translate(_MASK)


def _mask_credentials(found: re.Match[bytes]) -> bytes:
    digest = _DIGEST.fullmatch(found[2])
    if digest is None:
        return _mask_value(found)
    return found[1] + found[2][: digest.start("params")] + _EACH_PARAM.sub(_mask_param, digest["params"])


def _mask_param(found: re.Match[bytes]) -> bytes:
    name, gap, value, rest = found.groups()
    if name.lower() in _HARMLESS:
        return found[0]
    secret = value.strip(b'"')
    return name + gap + value.replace(secret, secret.translate(_MASK)) + rest
