"""Settings for the property tests: time says nothing on a busy machine, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
