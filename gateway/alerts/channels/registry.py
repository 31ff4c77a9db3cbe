"""From a channel's table to the channel."""

from ...errors import GatewayError
from .alertmanager import AlertmanagerChannel
from .base import Channel
from .config import AlertmanagerConfig, ChannelConfig, EmailConfig, PagerDutyConfig, SlackConfig, WebhookConfig
from .context import ChannelContext
from .email import EmailChannel
from .pagerduty import PagerDutyChannel
from .slack import SlackChannel
from .telephone import Telephone, TelephoneConfig
from .webhook import WebhookChannel


def make_channel(name: str, config: ChannelConfig, context: ChannelContext) -> Channel:
    """The channel of `[alerts.channels.NAME]`. Its errors begin with the name. Raises ConfigError when a file that it
    needs cannot be read, and GatewayError for a telephone where nothing can call."""
    match config:
        case PagerDutyConfig():
            return PagerDutyChannel(name, config, context)
        case AlertmanagerConfig():
            return AlertmanagerChannel(name, config, context)
        case SlackConfig():
            return SlackChannel(name, config, context)
        case WebhookConfig():
            return WebhookChannel(name, config, context)
        case EmailConfig():
            return EmailChannel(name, config, context)
        case TelephoneConfig():
            if context.dial is None:
                raise GatewayError(f"{name}: only the running gateway can call")
            return Telephone(name, config, context.gateway, context.dial)
