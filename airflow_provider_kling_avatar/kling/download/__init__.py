"""
From a finished clip's address to a verified file on this machine. Imports no Airflow.

`http` brings the bytes, `ssrf` says which addresses may be asked for them, `tempfiles` where they are written.
"""

MAX_BYTES = 4 << 30
"""Bytes of a clip at most. Five minutes, the longest avatar, are some 400 MB; what is larger is no clip."""
