"""`[flight]`: which calls are kept for a later look, and for how long."""

from typing import Literal

from pydantic import Field

from ..config_tables import Table


class FlightConfig(Table):
    """`[flight]`: the flight recorder."""

    keep: Literal["bad", "all", "none"] = "bad"
    """Which calls are written to disk when they are over: the bad and the failed ones, every one, or none."""
    max_mb: int = Field(default=500, ge=1)
    """All kept calls together; the oldest are removed first."""
    max_days: float = Field(default=30.0, gt=0)
    """What is older is removed."""
    call_kb: int = Field(default=512, ge=16, le=8192)
    """Memory for the packets of one call; the oldest make room. 512 hold about ten minutes of G.711 both ways."""
