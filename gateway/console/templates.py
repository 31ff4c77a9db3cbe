"""The templates, which escape whatever they are given."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import words
from .words import Mask

HERE = Path(__file__).parent


def environment(mask: Mask, name: str) -> Environment:
    """`name` is the gateway's."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals["gateway_name"] = name
    found.filters |= {
        "number": mask.number,
        "clock": words.clock,
        "epoch": words.epoch,
        "time_of_day": words.time_of_day,
        "utc_clock": words.utc_clock,
        "date_and_time": words.date_and_time,
        "figure": words.figure,
        "share": words.share,
        "grade": words.grade,
    }
    for template in found.list_templates():
        # now, not with the first look at a page: it takes a tenth of a second of the switch's loop
        found.get_template(template)
    return found


class Parts:
    """The macros of parts.html."""

    def __init__(self, templates: Environment) -> None:
        self._module: Any = templates.get_template("parts.html").module

    def draw(self, macro: str, *values: Any) -> Markup:
        """One macro, now."""
        return getattr(self._module, macro)(*values)
