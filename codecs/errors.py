"""What can go wrong with samples.

CodecError
 ├─ UnknownCodec    no codec of this name here
 └─ PayloadError    octets that the codec cannot decode; the caller counts it and conceals the frame
"""


class CodecError(Exception):
    """The family of this room."""


class UnknownCodec(CodecError):
    """No codec of this name here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown codec {name!r}")
        self.name = name


class PayloadError(CodecError):
    """Octets that the codec cannot decode."""
