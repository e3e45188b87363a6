"""One module per API; this table is all the rest of the package knows of them."""

from __future__ import annotations

from airflow_provider_kling_avatar.kling.dialects import cometapi, generations, kling, kling_broadcast, relay
from airflow_provider_kling_avatar.kling.dialects.base import DIALECTS, Dialect, Endpoint, Field

DIALECTS.update(
    (module.DIALECT.name, module.DIALECT) for module in (kling, kling_broadcast, cometapi, generations, relay)
)

__all__ = ["DIALECTS", "Dialect", "Endpoint", "Field"]
