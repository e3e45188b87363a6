"""A local Kling: every dialect's API on one loopback port, real MP4 answers, a ledger, faults on demand.

It is built from the vendors' documentation, reads the request contracts in `kling/dialects/schemas`
and nothing else of the client: two sides that shared code would agree on each other's mistakes.
Nothing here may import `airflow_provider_kling_avatar.kling`, or Airflow.

Importing this package is cheap; the server itself is in `server`, its options in `settings`.
"""
