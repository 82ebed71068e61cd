"""Exact counts of ids: hash tables in C++, or Arrow where there is none."""

from beam_jobs.counting.id_table import IdTable
from beam_jobs.counting.id_table import file_hashes
from beam_jobs.counting.id_table import for_counts
from beam_jobs.counting.id_table import for_rows
from beam_jobs.counting.library import Status
from beam_jobs.counting.library import fallback
from beam_jobs.counting.library import status
from beam_jobs.counting.occurrences import Rows
from beam_jobs.counting.occurrences import read_rows

__all__ = [
    "IdTable",
    "Rows",
    "Status",
    "fallback",
    "file_hashes",
    "for_counts",
    "for_rows",
    "read_rows",
    "status",
]
