"""Proxy and certificate authorities of the agent in the pods of its runs; a queue's own values win."""

from __future__ import annotations

from typing import Any

from launch_agent.runners.kubernetes.manifest import compose
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.spec.passon import AUTHORITIES_VARIABLES
from tests.runners.kubernetes.requests import request

MOUNT = {"name": "launch-agent-ca", "mountPath": "/etc/launch-agent/ca", "readOnly": True}


def pod(config: dict[str, Any], **fields: Any) -> Any:
    made = compose(
        request(config, authorities="gpu-ca/bundle.pem", **fields), allowed=Namespaces(default="team")
    )
    return made.manifest["spec"]["template"]["spec"]


def queue(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers), **spec}}}}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_the_main_container_trusts_whom_the_agent_trusts() -> None:
    spec = pod(queue({}, {"name": "sidecar", "image": "proxy:1"}))
    source = {"name": "gpu-ca", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}
    assert spec["volumes"] == [{"name": "launch-agent-ca", "configMap": source}]
    main, sidecar = spec["containers"]
    assert main["volumeMounts"] == [MOUNT]
    assert {variables(main)[name] for name in AUTHORITIES_VARIABLES} == {"/etc/launch-agent/ca/ca.crt"}
    assert not {"env", "volumeMounts"} & sidecar.keys()


def test_a_queue_with_authorities_of_its_own_keeps_them() -> None:
    own = {"name": "SSL_CERT_FILE", "value": "/certs/mine.pem"}
    spec = pod(queue({"env": [own]}))
    assert "volumes" not in spec
    assert variables(spec["containers"][0])["SSL_CERT_FILE"] == "/certs/mine.pem"
    assert "REQUESTS_CA_BUNDLE" not in variables(spec["containers"][0])


def test_volumes_of_the_queue_stay() -> None:
    data = {"name": "data", "emptyDir": {}}
    spec = pod(queue({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}, volumes=[data]))
    assert [volume["name"] for volume in spec["volumes"]] == ["data", "launch-agent-ca"]
    assert [mount["name"] for mount in spec["containers"][0]["volumeMounts"]] == ["data", "launch-agent-ca"]


def test_a_queues_proxy_wins_in_either_spelling() -> None:
    passed = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"), "http://agents:1")
    spec = pod(queue({"env": [{"name": "https_proxy", "value": "http://queues:1"}]}), env=passed)
    found = variables(spec["containers"][0])
    assert (found["https_proxy"], found["NO_PROXY"]) == ("http://queues:1", "http://agents:1")
    assert "HTTPS_PROXY" not in found


def test_nothing_is_added_where_nothing_is_passed_on() -> None:
    made = compose(request(queue({})), allowed=Namespaces(default="team"))
    assert "volumes" not in made.manifest["spec"]["template"]["spec"]
