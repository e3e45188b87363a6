"""Create users and their roles in FAB's tables, by its own code: they are read from the standard input, as JSON."""

from __future__ import annotations

import json
import sys

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.www.security.permissions import ACTION_CAN_READ, RESOURCE_DAG, RESOURCE_PLUGIN


def main() -> None:
    """Run on the database of the Airflow whose settings are in the environment."""
    with get_application_builder() as builder:
        manager = builder.sm
        own = [right for right in manager.VIEWER_PERMISSIONS if right[1] != RESOURCE_DAG]
        own.append((ACTION_CAN_READ, RESOURCE_PLUGIN))  # FAB's viewers and users get no page of any plugin
        for user in json.load(sys.stdin):
            name = user["name"]
            role = manager.find_role(user["role"])
            if role is None:
                manager.bulk_sync_roles([{"role": user["role"], "perms": own}])
                role = manager.find_role(user["role"])
            if not manager.add_user(name, name, name, f"{name}@example.com", role, password=user["password"]):
                raise SystemExit(f"no user {name}")


if __name__ == "__main__":
    main()
