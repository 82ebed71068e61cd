"""Keyed joins of a log with other logs, of any size."""
