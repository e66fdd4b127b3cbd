"""Names that every platform takes, and labels that bring the identity back."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from launch_agent.spec.identity import (
    AGENT_KEY,
    ITEM_KEY,
    agent_key,
    from_labels,
    item_hash,
    item_key,
    kube_labels,
    kube_name,
    object_name,
    run_id_for,
    service_labels,
    to_labels,
)
from launch_agent.spec.model import RunIdentity

# A DNS label (RFC 1035) is a name in Kubernetes and a host name; Docker takes it too.
DNS_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
DOCKER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
# What JSON can hold and UTF-8 can carry.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
IDENTITIES = st.builds(
    RunIdentity,
    agent=TEXT,
    item_id=TEXT,
    queue=TEXT,
    queue_entity=TEXT,
    run_id=TEXT,
    entity=TEXT,
    project=TEXT,
    kind=st.sampled_from(["job", "sweep-scheduler"]),
)


@given(IDENTITIES)
def test_an_object_name_is_legal_everywhere(identity: RunIdentity) -> None:
    name = object_name(identity)
    assert DNS_LABEL.fullmatch(name)
    assert DOCKER_NAME.fullmatch(name)
    assert "--" not in name
    assert object_name(identity) == name


@given(IDENTITIES, TEXT)
def test_other_items_have_other_names(identity: RunIdentity, item: str) -> None:
    other = replace(identity, item_id=item)
    assert (object_name(other) == object_name(identity)) == (item == identity.item_id)


def test_a_name_is_readable_and_keeps_its_digits() -> None:
    """openings K11."""
    identity = RunIdentity(
        agent="a",
        item_id="i",
        queue="q",
        queue_entity="e",
        run_id="ab12cd34",
        entity="e",
        project="GPT2 v3.1",
    )
    assert object_name(identity).startswith("launch-gpt2-v3-1-ab12cd34-")


@given(IDENTITIES)
def test_labels_bring_the_identity_back(identity: RunIdentity) -> None:
    labels = to_labels(identity)
    assert labels["app.kubernetes.io/managed-by"] == "launch-agent"
    assert from_labels(labels) == identity
    assert from_labels({**labels, "team": "x"}) == identity


@given(IDENTITIES)
def test_an_object_that_lacks_a_label_is_not_ours(identity: RunIdentity) -> None:
    labels = to_labels(identity)
    for missing in labels.keys() - {"app.kubernetes.io/managed-by"}:
        assert from_labels({key: text for key, text in labels.items() if key != missing}) is None
    assert from_labels({}) is None


@given(TEXT, TEXT)
def test_a_run_id_is_eight_letters_and_digits_always_the_same(agent: str, item: str) -> None:
    assert re.fullmatch("[a-z0-9]{8}", run_id_for(agent, item))
    assert run_id_for(agent, item) == run_id_for(agent, item)


def test_two_agents_never_claim_one_run() -> None:
    assert run_id_for("one", "item") != run_id_for("two", "item")


def test_run_ids_of_many_items_differ() -> None:
    assert len({run_id_for("agent", f"UnVuUXVldWVJdGVt{number}") for number in range(10_000)}) == 10_000


@given(TEXT)
def test_an_item_key_is_a_file_name_that_no_other_item_has(item: str) -> None:
    key = item_key(item)
    assert re.fullmatch("[a-z2-7]*", key)
    assert base64.b32decode(key.upper() + "=" * (-len(key) % 8)).decode() == item


# Kubernetes' rule for a label's value.
LABEL = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@given(IDENTITIES)
def test_names_on_kubernetes_leave_room_for_what_controllers_add(identity: RunIdentity) -> None:
    name = kube_name(identity)
    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= 40
    assert name.endswith(item_hash(identity))
    assert "--" not in name


@given(IDENTITIES, TEXT)
def test_labels_on_kubernetes_are_legal_and_tell_agents_and_items_apart(
    identity: RunIdentity, other: str
) -> None:
    labels = kube_labels(identity)
    assert all(LABEL.fullmatch(value) for value in labels.values())
    assert labels[AGENT_KEY] == agent_key(identity.agent)
    elsewhere = kube_labels(replace(identity, agent=other, item_id=other))
    assert (elsewhere[AGENT_KEY] == labels[AGENT_KEY]) == (other == identity.agent)
    assert (elsewhere[ITEM_KEY] == labels[ITEM_KEY]) == (other == identity.item_id)


@given(IDENTITIES)
def test_what_accompanies_a_run_is_not_found_among_runs(identity: RunIdentity) -> None:
    labels = service_labels(identity)
    assert all(LABEL.fullmatch(value) for value in labels.values())
    assert not {AGENT_KEY, ITEM_KEY} & labels.keys()
