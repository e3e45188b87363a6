"""What OpenLineage is told of a clip. Needs its provider: imported only when that one asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from airflow.providers.common.compat.openlineage.facet import Dataset, RunFacet
from airflow.providers.openlineage.extractors import OperatorLineage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FACET = "kling_avatar"
Names = tuple[str, str]
"""Namespace and name of an OpenLineage dataset."""


@attrs.define(kw_only=True)
class KlingAvatarRunFacet(RunFacet):
    """What a clip cost and how long it took. Amounts are decimal texts, spans are seconds."""

    task_id: str | None = None
    api: str | None = None
    mode: str | None = None
    estimated_cost: str | None = None
    actual_cost: str | None = None
    currency: str | None = None
    units: str | None = None
    duration: float | None = None
    queued_seconds: float | None = None
    rendering_seconds: float | None = None
    landing_seconds: float | None = None


def lineage_of(
    facts: Mapping[str, Any], inputs: Iterable[Names], outputs: Iterable[Names]
) -> OperatorLineage[Any, Any]:
    """
    Describe a clip by its manifest.

    :param inputs: namespace and name of each dataset that it was made from.
    :param outputs: the same of each file.
    """
    names = [field.name for field in attrs.fields(KlingAvatarRunFacet) if not field.name.startswith("_")]
    facet = KlingAvatarRunFacet(**{name: facts[name] for name in names if name in facts})
    return OperatorLineage(
        inputs=[Dataset(namespace=namespace, name=name) for namespace, name in inputs],
        outputs=[Dataset(namespace=namespace, name=name) for namespace, name in outputs],
        run_facets={FACET: facet},
    )
