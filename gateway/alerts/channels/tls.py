"""How a channel checks whom it speaks to."""

import ssl

from ...errors import ConfigError
from .config import TlsTable


def tls_context(name: str, config: TlsTable) -> ssl.SSLContext:
    """A client's context after the channel's table. Raises ConfigError when `ca_file` cannot be used."""
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:
        reason = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([f"alerts.channels.{name}.ca_file: {config.ca_file}: {reason}; give a PEM file"]) from None
    if not config.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
