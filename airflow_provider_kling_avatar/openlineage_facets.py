"""What OpenLineage is told of a clip. Needs its provider: imported only when that one asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from airflow.providers.common.compat.openlineage.facet import Dataset, RunFacet
from airflow.providers.openlineage.extractors import OperatorLineage

from airflow_provider_kling_avatar.lineage import dataset_name, uri_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FACET = "kling_avatar"


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


def lineage_of(facts: Mapping[str, Any], inputs: Iterable[str]) -> OperatorLineage[Any, Any]:
    """Describe a clip by its manifest."""
    names = [field.name for field in attrs.fields(KlingAvatarRunFacet) if not field.name.startswith("_")]
    facet = KlingAvatarRunFacet(**{name: facts[name] for name in names if name in facts})
    outputs = [uri for uri in (uri_of(facts.get("file")), uri_of(facts.get("watermark_file"))) if uri]
    return OperatorLineage(
        inputs=[_dataset(uri) for uri in inputs],
        outputs=[_dataset(uri) for uri in outputs],
        run_facets={FACET: facet},
    )


def _dataset(uri: str) -> Dataset:
    namespace, name = dataset_name(uri)
    return Dataset(namespace=namespace, name=name)
