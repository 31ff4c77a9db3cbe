"""Speech services: one module each behind the protocol of `base`."""
