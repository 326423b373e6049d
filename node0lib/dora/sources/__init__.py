"""Delivery events out of what other systems export: their payloads come in as plain values, events go out."""
