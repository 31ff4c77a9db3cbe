"""What is wrong with a configuration, as sentences: file, line, key, reason and remedy, without any secret.

Also resolves `"$ENV_NAME"` and `"%credential"`, since a reference that leads nowhere is the most common problem.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from .toml_lines import Lines, Location

Problem = tuple[Location, str]
"""Where, and one sentence."""

_ENVIRONMENT = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_CREDENTIAL = re.compile(r"%([A-Za-z0-9_.@-]+)")


def problem_error(title: str, problems: Sequence[Problem]) -> ValidationError:
    """Problems as the exception that pydantic's users expect."""
    details: list[InitErrorDetails] = [
        {"type": PydanticCustomError("trunkline", "{sentence}", {"sentence": sentence}), "loc": location, "input": None}
        for location, sentence in problems
    ]
    return ValidationError.from_exception_data(title, details, hide_input=True)


def resolve_references(value: Any, problems: list[Problem], at: Location = ()) -> Any:
    """`value` with each reference replaced by what it names; one that leads nowhere stays and becomes a problem."""
    if isinstance(value, Mapping):
        return {key: resolve_references(item, problems, (*at, str(key))) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve_references(item, problems, (*at, index)) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return _resolve(value)
    except LookupError as error:
        problems.append((at, str(error.args[0])))
        return value


def _resolve(text: str) -> str:
    if match := _ENVIRONMENT.fullmatch(text):
        name = match[1]
        if name not in os.environ:
            raise LookupError(f"environment variable {name} is not set; set it, or write the value here")
        return os.environ[name]
    if match := _CREDENTIAL.fullmatch(text):
        return _credential(match[1])
    return text


def _credential(name: str) -> str:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        raise LookupError(
            f"systemd credential {name} is asked for, but CREDENTIALS_DIRECTORY is not set; "
            f"add LoadCredential={name}:PATH to the unit"
        )
    try:
        secret = (Path(directory) / name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LookupError(
            f"systemd credential {name} cannot be read ({reason}); add LoadCredential={name}:PATH to the unit"
        ) from None
    if not secret:
        raise LookupError(f"systemd credential {name} is empty; write it to the file that the unit loads it from")
    return secret


def dotted(location: Location) -> str:
    """`routes[1].agent`, as a person would write it."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def problems_of(error: ValidationError, data: Any, known_keys: Callable[[Location], Iterable[str]]) -> list[Problem]:
    """pydantic's findings in our words. What it says of the branches of one union becomes one sentence, and where a
    branch fits but for something inside it, the others are not mentioned."""
    sentences: dict[Location, list[str]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        location = _written_location(detail, data)
        sentence = _sentence(detail, location, known_keys)
        if sentence not in sentences.setdefault(location, []):
            sentences[location].append(sentence)
    return [
        (location, " or ".join(several).replace("or must be", "or"))
        for location, several in sentences.items()
        if not any(other[: len(location)] == location != other for other in sentences)
    ]


def _written_location(detail: ErrorDetails, data: Any) -> Location:
    """The location without the names of union branches, which pydantic mixes in and no file holds."""
    location: Location = ()
    for part in detail["loc"]:
        match data:
            case Mapping() if part in data:
                data = data[part]
            case list() if isinstance(part, int) and part < len(data):
                data = data[part]
            case _:
                continue
        location = (*location, part)
    if detail["type"] == "missing":
        location = (*location, detail["loc"][-1])
    return location


def _sentence(detail: ErrorDetails, location: Location, known_keys: Callable[[Location], Iterable[str]]) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(str(location[-1]), sorted(known_keys(location[:-1])))
        case "missing":
            return "is required; add it"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case "trunkline":
            return detail["msg"]
        case "model_type" if not context["class_name"].endswith("Config"):
            return "must be text"  # addresses, hours: what has a written form of its own
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a table"
        case "too_short":
            return "must not be empty"
        case "too_long":
            return f"has {context['actual_length']} entries; {context['max_length']} are the most"
        case _:
            message = detail["msg"].replace("Input should", "must", 1)
            return message[:1].lower() + message[1:]


def _unknown_key(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    if known:
        return f"unknown key; remove it, or use one of: {', '.join(known)}"
    return "unknown key; remove it"


def describe(file: str, text: str, problems: Iterable[Problem], prefix: str) -> list[str]:
    """One line for each problem, in the order of the file; what came from the environment names its variable."""
    lines = Lines(text)
    described: list[tuple[int, str]] = []
    for location, sentence in problems:
        line = lines.of(location) or 0
        variable = _variable_of(location, prefix)
        place = f"environment variable {variable}" if variable else f"{file}:{line}" if line else file
        described.append((line, ": ".join(part for part in (place, dotted(location), sentence) if part)))
    return [text for _, text in sorted(described, key=lambda item: item[0])]


def _variable_of(location: Location, prefix: str) -> str | None:
    """The environment variable that set this value, when one did."""
    name = prefix + "__".join(str(part) for part in location)
    return next((variable for variable in os.environ if variable.lower() == name.lower()), None)
