"""Reading metrics pages."""

from prometheus_client.parser import text_string_to_metric_families

Key = tuple[str | tuple[str, str], ...]


def samples(text: str, *kinds: str) -> dict[Key, float]:
    """Name and labels → value, of all families or those of these types, from a page in the text format."""
    families = [family for family in text_string_to_metric_families(text) if not kinds or family.type in kinds]
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def fell(before: str, after: str) -> list[Key]:
    """The counters and buckets that are lower than on the page before, or gone."""
    now = samples(after, "counter", "histogram")
    return [key for key, value in samples(before, "counter", "histogram").items() if now.get(key, -1) < value]


def total(text: str, name: str, **labels: str) -> float:
    """The sum of all series of this name that have these labels."""
    wanted = set(labels.items())
    return sum(value for key, value in samples(text).items() if key[0] == name and wanted <= set(key[1:]))
