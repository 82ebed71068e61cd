"""Apache Beam jobs: raw logs → datasets of TFRecords and id frequencies."""

from beam_jobs.counting.id_frequencies import CountIds
from beam_jobs.preprocess import run

__all__ = ["CountIds", "run"]
