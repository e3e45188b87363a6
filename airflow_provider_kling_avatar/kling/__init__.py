"""The vendors' APIs. Imports no Airflow and holds no Airflow word."""
