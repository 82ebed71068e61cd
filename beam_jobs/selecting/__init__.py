"""The select of the configuration, by DuckDB."""
