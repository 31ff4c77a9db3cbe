"""Which agent answers which number: the first route that fits wins."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from .config import RouteConfig


def dialled_digits(number: str) -> str:
    """A number as routes compare it: E.164 trunks differ in whether they send the plus."""
    return number.removeprefix("+")


def route_for(routes: Sequence[RouteConfig], number: str, trunk: str) -> RouteConfig | None:
    """The first route whose `to` pattern (shell wildcards) and trunk fit; None when no route does."""
    digits = dialled_digits(number)
    for route in routes:
        if route.trunk in (None, trunk) and fnmatchcase(digits, dialled_digits(route.to)):
            return route
    return None
