"""The extra link of our tasks. Reads one XCom and nothing else: it is asked for by processes without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.compat import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

LINK_XCOM_KEY = "kling_task_link"


class KlingTaskLink(BaseOperatorLink):
    """
    Leads to the clip.

    On Airflow 3.1 and newer to the clip's page in Airflow's own UI. Before, to a page of the vendor's, where
    ``task_link`` in the connection's extra names one. Never to an API, nor a signed address.
    """

    name = "Kling video task"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        """Return the address, or an empty text where there is none."""
        return XCom.get_value(ti_key=ti_key, key=LINK_XCOM_KEY) or ""
