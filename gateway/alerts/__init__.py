"""Alerts that need nothing else: rules over call slices, the cause, and the on-call ladder."""
