"""From a SIP URI to the flows to try, in order (RFC 3263)."""

from collections.abc import Sequence

from .flow import Flow


class Resolver:
    """Resolves next hops with NAPTR, SRV and A/AAAA records; numeric hosts never touch the DNS."""

    def __init__(self, nameservers: Sequence[str] | None = None, timeout: float = 3.0) -> None:
        """`nameservers` None: the system's; `timeout` seconds for one lookup."""

    async def resolve(self, uri: str) -> list[Flow]:
        """Every flow for `uri` (host, port, transport parameter) by priority and weight.
        Raises ResolutionError with the name and the reason when nothing can be found."""
        raise NotImplementedError
