"""The agent's rights on its cluster: the chart writes them, from the same values as all else."""

from __future__ import annotations

from launch_agent.permissions import Cloud, Document, Grant, Needs
from launch_agent.spec.model import Resource

_IN_JOBS = frozenset({"kaniko", "buildkit"})


def documents(needs: Needs) -> list[Document]:
    """Where the Roles are to be read, where the config needs any."""
    grants = []
    if Resource.KUBERNETES in needs.resources:
        why = "start, watch and stop runs, read their pods, events and output, give each its Secret"
        grants.append(Grant(name="the chart's Role", on="each namespace of runs", why=why))
    builder = needs.config.builder
    if builder.type in _IN_JOBS and not builder.options.get("buildkit-address"):
        why = f"build images in Jobs ({builder.type})"
        grants.append(Grant(name="the chart's Role", on="the namespace of builds", why=why))
    if not grants:
        return []
    return [
        Document(
            cloud=Cloud.KUBERNETES,
            name="roles",
            purpose="the Roles of the agent's service account, which the chart makes",
            body={},
            grants=grants,
            notes=[
                "To read them: helm template launch-agent charts/launch-agent -f values.yaml "
                "--show-only templates/role.yaml"
            ],
        )
    ]
