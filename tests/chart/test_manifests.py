"""What every values file renders is accepted by a real API server, under Pod Security `restricted`.

The server checks what schemas of manifests cannot: immutable and unknown fields, quantities, names, selectors
against labels, and the admission plugins. A dry run goes all the way to the storage, and stops there.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from launch_agent.config import load
from tests.chart.files import CASES, Case
from tests.fakes.control_plane import Cluster
from tests.fakes.helm import Helm
from tests.fakes.kube import ApiError, Kube, Object
from tests.fixtures.cluster import RESTRICTED, await_account

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def render(
    helm: Helm, case: Case, *more: str, namespace: str = "ml", version: str = "1.37.2"
) -> list[Object]:
    flags = (*case.flags(), *more, "--kube-version", version)
    return helm.template("{}", *flags, namespace=namespace)


def pod_of(manifest: Object) -> Object | None:
    """The pod that a manifest makes, as a manifest of its own; None where it makes none."""
    template: Any = manifest["spec"].get("template", {}) if "spec" in manifest else {}
    if manifest["kind"] == "Pod":
        template = manifest
    elif manifest["kind"] == "CronJob":
        template = manifest["spec"]["jobTemplate"]["spec"]["template"]
    if "spec" not in template:
        return None
    pod = copy.deepcopy(template)
    pod["metadata"] = {**pod.get("metadata", {}), "name": "probe"}
    return {**pod, "apiVersion": "v1", "kind": "Pod"}


def ensure(kube: Kube, namespace: str) -> None:
    """A namespace that a values file names; shared by all tests, so it stays until the cluster goes."""
    try:
        kube.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}}
        )
    except ApiError as error:
        if error.status != 409:
            raise
    await_account(kube, namespace)


@pytest.mark.timeout(300)
@pytest.mark.req("CHART-1", "CARD-8")
@each_case
def test_the_server_accepts_it(helm: Helm, cluster: Cluster, namespace: str, case: Case) -> None:
    kube = cluster.kube
    objects = render(helm, case, namespace=namespace, version=cluster.version)
    for wanted in {each["metadata"].get("namespace") for each in objects} - {None, namespace}:
        ensure(kube, wanted)
    with kube.heard() as warnings:
        for each in objects:
            label = f"{each['kind']} {each['metadata']['name']}"
            try:
                if pod := pod_of(each):
                    account = pod["spec"].pop("serviceAccountName", None)
                    assert account != "default", f"{label} runs as the account of everybody"
                    kube.dry_run(pod, namespace)
                # A pod is refused while its account does not exist, and in a dry run nothing does.
                if each["kind"] != "Pod":
                    kube.dry_run(each, namespace)
            except (ApiError, LookupError) as error:
                raise AssertionError(f"{label}: {error}") from error
    assert warnings == []


@each_case
def test_every_object_is_labelled_and_of_this_release(helm: Helm, case: Case) -> None:
    """But for objects of the user's own, which are as they are written."""
    chosen = tuple(case.names())
    for each in render(helm, case, "--set-json", "extraObjects=[]"):
        name, labels = each["metadata"]["name"], each["metadata"].get("labels", {})
        assert labels.get("app.kubernetes.io/instance") == "gpu", name
        assert labels.get("app.kubernetes.io/managed-by") == "Helm", name
        assert "gpu" in name or name.startswith(chosen), f"two releases would meet in {name}"


@each_case
def test_no_object_comes_twice(helm: Helm, case: Case) -> None:
    names = [
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        for each in render(helm, case)
    ]
    assert len(names) == len(set(names))


@pytest.mark.req("CARD-5", "CARD-6")
@each_case
def test_the_agent_can_use_its_config(helm: Helm, case: Case, tmp_path: Path) -> None:
    """The file that the ConfigMap holds, in the environment that the container gets."""
    objects = render(helm, case)
    texts = [
        each["data"]["launch-config.yaml"] for each in objects if "launch-config.yaml" in each.get("data", {})
    ]
    assert len(texts) == 1
    file = tmp_path / "launch-config.yaml"
    file.write_text(texts[0])
    container = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"][
        "containers"
    ][0]
    given = {each["name"]: each.get("value", "x" * 40) for each in container["env"]}
    config = load.load(file, {**given, "HOME": str(tmp_path)})
    assert config.queues
    assert "x" * 40 not in texts[0]
