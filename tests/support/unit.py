"""A systemd unit as its file says it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "conf" / "trunkline.service"
REALTIME = ROOT / "conf" / "trunkline.service.d" / "realtime.conf"


def assignments(key: str, unit: Path = UNIT) -> list[str]:
    """Every value that the unit gives to `key`, in order."""
    lines = (line.partition("=") for line in unit.read_text().splitlines() if not line.startswith("#"))
    return [value for name, separator, value in lines if separator and name == key]


def assignment(key: str) -> str:
    """The one value of `key`."""
    (value,) = assignments(key)
    return value
