"""A secrets backend that knows a real key, for `users_tests.py`."""

from airflow.secrets import BaseSecretsBackend


class RealSecrets(BaseSecretsBackend):
    def get_conn_value(self, conn_id, **_):
        return '{"conn_type": "kling_avatar", "host": "https://real.invalid", "password": "sk-real"}'
