"""The page of a flow that runs others: what each part found, with links to it."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.context import FlowRunContext

from tasks.pages.links import link, page_url, run_url
from tasks.pages.report import publish

MOST = 50
"""Pages of a part that are looked at, the newest first: an evolution writes one for each generation."""


async def overview(key: str, happened: str) -> None:
    """Publish the page of the current flow run. `happened`: what came of it, as a paragraph."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    parts = []
    async with get_client() as client:
        parent = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [context.flow_run.id]}})
        for run in await client.read_flow_runs(flow_run_filter=parent, sort=FlowRunSort.START_TIME_ASC):
            found = await _pages(client, run)
            lines = [f"- {link(str(page.key), page_url(page.id))}: {page.description or ''}" for page in found]
            parts += [f"## {link(run.name, run_url(run.id))}", "\n".join(lines) or "It has no page."]
    await publish(key, happened, parts)


async def _pages(client: PrefectClient, run: FlowRun) -> list[Artifact]:
    """The run's pages but for bars of progress, the newest of each key, in the order of their keys' first ones."""
    mine = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run.id]}, "type": {"not_any_": ["progress"]}})
    found = await client.read_artifacts(artifact_filter=mine, sort=ArtifactSort.CREATED_DESC, limit=MOST)
    newest: dict[str, Artifact] = {}
    for page in found:
        if page.key:  # results are artifacts, too, without a key
            newest.setdefault(page.key, page)
    return list(reversed(newest.values()))
