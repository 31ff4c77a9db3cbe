"""Routes: first match wins, the plus of E.164 does not matter."""

import pytest

from trunkline.gateway.config_tables import RouteConfig
from trunkline.gateway.routing import route_for

ROUTES = [
    RouteConfig(to="+1415*", trunk="vonage", agent="west"),
    RouteConfig(to="15550100", agent="desk"),
    RouteConfig(to="*", trunk="lab", agent="any"),
]


@pytest.mark.parametrize(
    ("number", "trunk", "agent"),
    [
        ("+14155550100", "vonage", "west"),
        ("14155550100", "vonage", "west"),
        ("+14155550100", "other", None),
        ("+15550100", "vonage", "desk"),
        ("15550100", "lab", "desk"),
        ("anything", "lab", "any"),
        ("anything", "vonage", None),
    ],
)
def test_first_route_that_fits(number: str, trunk: str, agent: str | None) -> None:
    route = route_for(ROUTES, number, trunk)
    assert (route.agent if route else None) == agent
