"""Apache Airflow provider for Kling Avatar."""

__version__ = "0.1.0"
