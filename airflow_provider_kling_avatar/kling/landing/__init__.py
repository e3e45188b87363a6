"""
From a finished clip's address to a verified file on this machine. Imports no Airflow.

`fetch` brings the bytes, `reach` says which addresses may be asked for them, `mp4` says whether they are a film.
"""
