"""A local Kling: every dialect's API on one loopback port, real MP4 answers, a ledger, faults on demand.

It is built from the vendors' documentation and from what was seen live. It shares nothing with the client, neither
code nor request contracts: two sides that did would agree on each other's mistakes. Nothing here may import
`airflow_provider_kling_avatar.kling` or read a file of it, or import Airflow.

Importing this package is cheap; the server itself is in `server`, its options in `settings`.
"""
