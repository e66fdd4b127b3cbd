"""What holds for the objects of every run, whatever its queue's configuration is."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import LaunchError, Refused, SubmitRejected
from launch_agent.runners.kubernetes.manifest import Composition, compose, context_of
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.runners.kubernetes.secrets_manifest import pull_secret
from launch_agent.spec import identity as ids
from launch_agent.spec.kubernetes.defaults import with_defaults
from launch_agent.spec.kubernetes.legal import LARGEST
from launch_agent.spec.model import Credentials
from launch_agent.spec.secret import Secret
from tests.runners.kubernetes.requests import CREDENTIALS, IDENTITY, IMAGE, request
from tests.runners.kubernetes.test_manifest_golden import CASES, NAMES

Json = dict[str, Any]
ALLOWED = Namespaces(default="jobs", targets=["wandb"])
GOOD = [name for name in NAMES if not name.startswith("bad-")]
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def queue(name: str) -> Json:
    loaded: Json = yaml.safe_load((CASES / name / "queue.yaml").read_text(encoding="utf-8"))
    return loaded


def made(configuration: Mapping[str, Any], **fields: Any) -> Composition:
    return compose(request(configuration, **fields), allowed=ALLOWED)


def walk(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, Mapping):
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def main(composition: Composition) -> Json:
    container: Json = composition.manifest["spec"]["template"]["spec"]["containers"][0]
    return container


def env_of(container: Json) -> Json:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def job(container: Json, **pod: Any) -> Json:
    return {"spec": {"template": {"spec": {"containers": [container], **pod}}}}


def given_in(wanted: Any, found: Any) -> bool:
    """Whether everything that `wanted` says is in `found`, lists by position."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            key in found and given_in(item, found[key]) for key, item in wanted.items() if item is not None
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and all(
            given_in(one, other) for one, other in zip(wanted, found, strict=False)
        )
    return bool(wanted == found)


@pytest.mark.parametrize("name", GOOD)
def test_the_same_request_makes_the_same_objects_and_stays_as_it_was(name: str) -> None:
    asked = request(queue(name))
    before = copy.deepcopy(asked.resource_args)
    first = compose(asked, allowed=ALLOWED, credentials=CREDENTIALS)
    assert compose(asked, allowed=ALLOWED, credentials=CREDENTIALS) == first
    assert asked.resource_args == before
    # What is made is a tree: changing one place must not change another.
    seen = [id(each) for each in walk(first.manifest) if isinstance(each, dict | list)]
    assert len(seen) == len(set(seen))
    theirs = {id(each) for each in walk(asked.resource_args) if isinstance(each, dict | list)}
    assert theirs.isdisjoint(seen)


@pytest.mark.parametrize("name", GOOD)
def test_every_name_and_label_is_legal(name: str) -> None:
    composition = compose(request(queue(name)), allowed=ALLOWED, credentials=CREDENTIALS)
    for each in (composition.manifest, *composition.secrets, *composition.services):
        metadata = each["metadata"]
        assert DNS_LABEL.fullmatch(metadata["name"])
        assert metadata["namespace"] == composition.namespace
        for value in walk(each):
            if isinstance(value, dict) and isinstance(value.get("labels"), dict):
                assert all(LABEL.fullmatch(label) for label in value["labels"].values())


@pytest.mark.parametrize("name", GOOD)
def test_an_object_says_whose_it_is_and_so_do_its_pods(name: str) -> None:
    composition = made(queue(name))
    metadata = composition.manifest["metadata"]
    assert ids.from_labels(metadata["annotations"]) == IDENTITY
    assert metadata["labels"].items() >= ids.kube_labels(IDENTITY).items()
    if composition.kind == "TrainJob":
        return
    pods = [each for each in walk(composition.manifest["spec"]) if isinstance(each, dict)]
    marked = [each for each in pods if each.get("labels", {}).get(ids.ITEM_KEY) == ids.item_hash(IDENTITY)]
    expected = [each for each in pods if "containers" in each or {"env", "cores"} <= each.keys()]
    assert len(marked) >= len(expected) - (1 if name == "unknown-kind" else 0) - (composition.kind == "Pod")


@pytest.mark.parametrize("name", GOOD)
def test_what_the_queue_sets_survives(name: str) -> None:
    given_by_queue = queue(name)
    for key in ("namespace", "context"):
        given_by_queue.pop(key, None)
    found = copy.deepcopy(dict(made(given_by_queue).manifest))
    wanted = copy.deepcopy(given_by_queue)
    for key in ("name", "generateName"):
        wanted.get("metadata", {}).pop(key, None)
    for each in walk(wanted):
        if isinstance(each, dict):
            # Variables are merged, and a fixed image yields to the job's: both have tests of their own.
            each.pop("env", None)
            each.pop("image", None)
            if name == "doc-e2-one-level-too-deep":
                for key in ("backOffLimit", "ttlSecondsAfterFinished", "securityContext"):
                    each.pop(key, None)
    assert given_in(wanted, found)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.req("K8S-18")
def test_what_is_added_can_be_shown_and_adding_it_twice_changes_nothing(name: str) -> None:
    shown = with_defaults(queue(name))
    assert with_defaults(shown) == shown
    again = made(shown)
    once = made(queue(name))
    assert again.manifest == once.manifest


@pytest.mark.parametrize("name", GOOD)
def test_the_key_is_in_a_secret_of_the_runs_own_and_nowhere_else(name: str) -> None:
    """openings K8."""
    composition = compose(request(queue(name)), allowed=ALLOWED, credentials=CREDENTIALS)
    text = json.dumps([composition.manifest, *composition.services]) + repr(composition)
    for hidden in ("the-key", "pull-password"):
        assert hidden not in text
        assert base64.b64encode(hidden.encode()).decode() not in text
    if name == "pipeline-run":
        assert composition.secrets == ()
        return
    secret, pull = composition.secrets
    assert secret["data"] == {"WANDB_API_KEY": base64.b64encode(b"the-key").decode()}
    references = [each["secretKeyRef"] for each in walk(composition.manifest) if _is_reference(each)]
    ours = [each for each in references if each["name"] == secret["metadata"]["name"]]
    assert ours
    assert all(each["key"] == "WANDB_API_KEY" for each in ours)
    assert pull["type"] == "kubernetes.io/dockerconfigjson"


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("secretKeyRef"), Mapping)


def test_pull_secrets_speak_of_docker_hub_as_the_kubelet_does() -> None:
    secret = pull_secret(
        IDENTITY, "jobs", Credentials(host="docker.io", username="u", password=Secret("p:w"))
    )
    config = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    entry = config["auths"]["https://index.docker.io/v1/"]
    assert base64.b64decode(entry["auth"]) == b"u:p:w"


@pytest.mark.req("K8S-6", "CON-30")
@pytest.mark.parametrize(
    ("args", "namespace"),
    [
        ({}, "jobs"),
        ({"namespace": "wandb"}, "wandb"),
        ({"metadata": {"namespace": "wandb"}}, "wandb"),
        ({"metadata": {"namespace": "wandb"}, "namespace": "wandb"}, "wandb"),
        ({"metadata": None, "namespace": None}, "jobs"),
        ({"namespace": ""}, "jobs"),
    ],
)
def test_the_namespace_is_the_queues_else_the_runners(args: Json, namespace: str) -> None:
    composition = made(args)
    assert composition.namespace == namespace
    assert "namespace" not in composition.manifest
    assert {each["metadata"]["namespace"] for each in composition.secrets} == {namespace}


def test_every_namespace_is_served_where_the_operator_says_so() -> None:
    assert (
        compose(request({"namespace": "x"}), allowed=Namespaces(default="a", targets=["*"])).namespace == "x"
    )
    with pytest.raises(Refused, match="it serves a, b"):
        compose(request({"namespace": "x"}), allowed=Namespaces(default="a", targets=["b", "a"]))


def test_the_context_is_the_queues_and_not_the_objects() -> None:
    composition = made({"context": "west"})
    assert (composition.context, context_of({"context": 5})) == ("west", "")
    assert "context" not in composition.manifest


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"name": "WANDB_NAME", "value": "mine"}, {"name": "WANDB_NAME", "value": "mine"}),
        ({"name": "WANDB_PROJECT", "value": "other"}, {"name": "WANDB_PROJECT", "value": "Image Net 2"}),
        ({"name": "N", "value": 1.5}, {"name": "N", "value": "1.5"}),
        ({"name": "N", "value": True}, {"name": "N", "value": "true"}),
        ({"name": "N"}, {"name": "N"}),
        (
            {"name": "N", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}},
            {"name": "N", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}},
        ),
    ],
)
def test_the_queues_variables_win_but_for_those_that_say_which_run_it_is(theirs: Json, ours: Json) -> None:
    """openings K9."""
    found = main(made(job({"env": [theirs]}), env={"WANDB_NAME": "ours", "WANDB_PROJECT": "Image Net 2"}))
    assert [entry for entry in found["env"] if entry["name"] == theirs["name"]] == [ours]


def test_a_submitters_key_cannot_be_put_aside() -> None:
    found = main(made(job({"env": [{"name": "WANDB_API_KEY", "value": "stolen"}]})))
    assert "secretKeyRef" in env_of(found)["WANDB_API_KEY"]


def test_a_value_that_looks_like_a_reference_stays_as_it_is() -> None:
    """Kubernetes puts variables' values for `$(NAME)`, and a dollar for two."""
    composition = made(job({}), env={"A": "$(HOME) $$ $x"}, args=["$(A)", "a$$b"], entry_point=["$(A)"])
    assert env_of(main(composition))["A"] == "$$(HOME) $$$$ $$x"
    assert main(composition)["args"] == ["$$(A)", "a$$$$b"]
    assert main(composition)["command"] == ["$$(A)"]


def test_sidecars_get_nothing_of_the_run() -> None:
    """openings K9."""
    sidecar = {"name": "proxy", "image": "envoy"}
    args = {
        "spec": {"template": {"spec": {"containers": [{}, sidecar], "initContainers": [{"image": "git"}]}}}
    }
    composition = made(args, entry_point=["python"], args=["x"])
    pod = composition.manifest["spec"]["template"]["spec"]
    for untouched in (pod["containers"][1], pod["initContainers"][0]):
        assert not {"env", "command", "args"} & untouched.keys()


def test_another_container_of_the_jobs_image_gets_the_variables_and_no_command() -> None:
    args = {"spec": {"template": {"spec": {"containers": [{}], "initContainers": [{"name": "fetch"}]}}}}
    pod = made(args, entry_point=["python"]).manifest["spec"]["template"]["spec"]
    fetch = pod["initContainers"][0]
    assert fetch["image"] == IMAGE
    assert "secretKeyRef" in env_of(fetch)["WANDB_API_KEY"]
    assert "command" not in fetch


def test_the_named_container_is_the_main_one() -> None:
    args = job({"name": "proxy", "image": "envoy"})
    template = args["spec"]["template"]
    template["spec"]["containers"].append({"name": "train"})
    template["metadata"] = {"annotations": {"kubectl.kubernetes.io/default-container": "train"}}
    containers = made(args, args=["x"]).manifest["spec"]["template"]["spec"]["containers"]
    assert [each.get("args") for each in containers] == [None, ["x"]]


def test_names_that_are_there_are_not_taken_twice() -> None:
    args = {"spec": {"template": {"spec": {"containers": [{}, {"name": "main", "image": "x"}, {}]}}}}
    containers = made(args).manifest["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in containers] == ["main-2", "main", "container-2"]


def test_no_credentials_no_pull_secret() -> None:
    composition = made({})
    assert "imagePullSecrets" not in composition.manifest["spec"]["template"]["spec"]
    assert [each["type"] for each in composition.secrets] == ["Opaque"]
    assert made({}, secret_env={}).secrets == ()


@pytest.mark.parametrize("large", ["env", "annotations"])
def test_two_megabytes_are_too_much(large: str) -> None:
    text = "x" * (LARGEST + 1)
    container: Json = {"env": [{"name": "A", "value": text}]} if large == "env" else {}
    args = job(container) | ({"metadata": {"annotations": {"a": text}}} if large == "annotations" else {})
    with pytest.raises(SubmitRejected, match="makes an object of 1,4") as raised:
        made(args)
    assert len(str(raised.value)) < 500


def test_what_the_server_writes_is_not_the_authors() -> None:
    composition = made({"status": {"succeeded": 1}, "builder": {"base_image": "x"}})
    assert not {"status", "builder"} & composition.manifest.keys()


def test_a_name_of_the_queue_is_kept_as_a_note() -> None:
    """One name for all jobs of a queue would be taken by the first."""
    metadata = made({"metadata": {"name": "always", "generateName": "some-"}}).manifest["metadata"]
    assert metadata["name"] == ids.kube_name(IDENTITY)
    assert metadata["annotations"]["launch-agent/requested-name"] == "always"
    assert "generateName" not in metadata


def test_services_are_no_runs() -> None:
    config = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "image": "b"}]}}
    (service,) = made({}, services=[{"name": "x", "config": config}]).services
    labels = service["metadata"]["labels"]
    assert labels[ids.SERVICE_OF] == ids.item_hash(IDENTITY)
    assert not {ids.AGENT_KEY, ids.ITEM_KEY} & labels.keys()
    assert ids.from_labels(service["metadata"].get("annotations", {})) is None


TEXTS = st.text(max_size=60)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_identity_makes_legal_names_and_labels(agent: str, item: str, run: str, project: str) -> None:
    who = replace(IDENTITY, agent=agent, item_id=item, run_id=run, project=project)
    composition = made({}, identity=who)
    assert DNS_LABEL.fullmatch(composition.name)
    assert len(composition.name) <= 40
    assert composition.name.endswith(ids.item_hash(who))
    assert all(LABEL.fullmatch(value) for value in composition.manifest["metadata"]["labels"].values())
    assert ids.from_labels(composition.manifest["metadata"]["annotations"]) == who


KEYS = st.sampled_from(
    (
        *("apiVersion", "kind", "metadata", "labels", "annotations", "namespace", "spec", "template"),
        *("containers", "initContainers", "env", "name", "value", "valueFrom", "image", "command", "args"),
        *("securityContext", "capabilities", "imagePullSecrets", "resources", "restartPolicy", "os"),
        *("backoffLimit", "backOffLimit", "trainer", "driver"),
    )
)
VALUES = st.sampled_from(
    ["batch/v1", "Job", "v1", "Pod", "sparkoperator.k8s.io/v1beta2", "SparkApplication", "TrainJob", "", "x"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


def _said(args: Json) -> str:
    try:
        asked = request(args, args=["x"], entry_point=["y"])
        composition = compose(asked, allowed=ALLOWED, credentials=CREDENTIALS)
    except LaunchError as error:
        return error.message
    json.dumps(composition.manifest)
    return "composed" if composition.manifest["metadata"]["name"] == ids.kube_name(IDENTITY) else "unnamed"


@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_any_object_is_composed_or_refused_with_its_place(args: Json) -> None:
    before = copy.deepcopy(args)
    said = _said(args)
    assert said == "composed" or "resource_args.kubernetes" in said
    assert repr(args) == repr(before)
