"""What can go wrong in the gateway, as its callers tell it apart.

GatewayError
 ├─ ConfigError     the configuration cannot be used; one line for each problem (exit code 2)
 ├─ RecordsError    the call records cannot be opened or read
 ├─ FlightError     a kept call is not there or cannot be read
 ├─ WorkerError     the media workers do not start
 ├─ CallRefused     a call that was asked for over HTTP or the command line is not placed
 └─ AlertRefused    an alert is not acknowledged, a channel not tested
"""

from collections.abc import Sequence


class GatewayError(Exception):
    """The family of this room. The text is meant for the operator: free of secrets, with a remedy."""


class ConfigError(GatewayError):
    """One or more problems of a configuration: `problems` holds one sentence for each, naming file, key and remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class RecordsError(GatewayError):
    """The database of call records cannot be opened or read."""


class FlightError(GatewayError):
    """A kept call (its flight recording) is not there, or is not one that this program wrote."""


class WorkerError(GatewayError):
    """The media workers do not start."""


class CallRefused(GatewayError):
    """A call is not placed: `status` is the HTTP status that is true (404 unknown trunk or agent, 503 full, …)."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class AlertRefused(GatewayError):
    """What was asked of the alerts is not done: `status` is the HTTP status that is true (404 unknown, …)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
