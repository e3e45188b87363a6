"""Thin adapters between Airflow and the `kling` package: sensors."""
