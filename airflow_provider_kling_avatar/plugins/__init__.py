"""What Airflow finds as plugins."""
