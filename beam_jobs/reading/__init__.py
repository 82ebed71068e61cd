"""Files of logs → Arrow batches."""
