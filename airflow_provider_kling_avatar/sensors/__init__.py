"""Thin adapters between Airflow and the `kling` room: sensors."""
