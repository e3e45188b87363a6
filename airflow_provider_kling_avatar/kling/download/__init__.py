"""
From a finished clip's address to a verified file on this machine. Imports no Airflow.

`http` brings the bytes, `ssrf` says which addresses may be asked for them, `tempfiles` where they are collected.
"""
