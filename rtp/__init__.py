"""Packets, time, loss and quality. Imports no other room; moves payload octets and never looks inside them."""
