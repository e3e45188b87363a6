"""What Airflow is set to in `users_tests.py`: a secrets backend that knows a real key, and options of a database."""

from airflow.secrets import BaseSecretsBackend


class RealSecrets(BaseSecretsBackend):
    def get_conn_value(self, conn_id, **_):
        return '{"conn_type": "kling_avatar", "host": "https://real.invalid", "password": "sk-real"}'


FOR_POSTGRESQL = {"connect_timeout": 5, "keepalives": 1, "keepalives_idle": 30}
"""What many set for their PostgreSQL. No SQLite knows any of it."""
