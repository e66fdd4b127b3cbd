"""The page: what it is made of, what it may load, and the form by which queues are made."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources

import pytest
import yaml

from tests.fakes.wire import Wire

_WEB = resources.files("launch_agent.server") / "web"


class _Form(HTMLParser):
    """Collects labels, fields and buttons of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self.buttons: dict[str, str] = {}
        self._open: tuple[dict[str, str], str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag in ("input", "select", "textarea") and "id" in given:
            self.fields[given["id"]] = tag
        if tag == "label":
            self._open = (self.labels, given.get("for", ""))
        if tag == "button":
            self._open = (self.buttons, given.get("id", ""))

    def handle_data(self, data: str) -> None:
        if self._open is not None and data.strip():
            into, key = self._open
            into[key] = data.strip()
            self._open = None


@pytest.fixture
def form() -> _Form:
    parsed = _Form()
    parsed.feed((_WEB / "index.html").read_text())
    return parsed


@pytest.mark.req("UI-1", "UI-7")
@pytest.mark.parametrize("path", ["/", "/launch"])
def test_the_page_is_there_without_a_key_and_loads_nothing_from_elsewhere(wire: Wire, path: str) -> None:
    answer = wire.request("GET", path, with_key=False)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in answer.body
    assert b"https://" not in answer.body


@pytest.mark.parametrize(
    ("path", "view"),
    [("/team/p/runs/aaaaaaaa", "/#/run/team/p/aaaaaaaa"), ("/team/my%20p", "/#/project/team/my%20p")],
)
def test_the_addresses_that_official_clients_print_lead_to_the_page(wire: Wire, path: str, view: str) -> None:
    answer = wire.request("GET", path, with_key=False, redirect=False)
    assert (answer.status, answer.headers["Location"]) == (307, view)


def test_everything_that_the_page_names_is_served(wire: Wire) -> None:
    named = set(re.findall(r'"/assets/([\w.]+)"', (_WEB / "index.html").read_text()))
    named |= set(re.findall(r'from "\./([\w.]+)"', (_WEB / "app.js").read_text()))
    assert named == {entry.name for entry in _WEB.iterdir()} - {"index.html"}
    for name in named:
        answer = wire.request("GET", f"/assets/{name}", with_key=False)
        assert answer.status == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.body == (_WEB / name).read_bytes()
    assert wire.request("GET", "/assets/index.html", with_key=False).status == 404
    assert wire.request("GET", "/assets/..%2Fapp.py", with_key=False).status == 404


@pytest.mark.req(
    "UI-2", "UI-3", "UI-4", "UI-5", "UI-6", "UI-8", "UI-9", "UI-10", "UI-11", "UI-12", "UI-13", "CON-13"
)
def test_one_form_makes_queues(form: _Form) -> None:
    assert form.buttons["create-queue"] == "Create queue"
    assert form.labels["entity"] == "Entity"
    assert form.labels["name"] == "Queue name"
    assert form.labels["resource"] == "Resource"
    assert form.labels["configuration"] == "Configuration"
    assert form.fields["entity"] == "select"
    assert form.fields["resource"] == "select"
    assert form.fields["prioritization"] == "input"
    assert form.fields["configuration"] == "textarea"


def _examples() -> dict[str, str]:
    text = (_WEB / "examples.js").read_text()
    found = re.findall(
        r'"([\w-]+)": \{\s*label: "[^"]+",\s*example: (?:`(.*?)`|"(.*?)\\n"),?\s*\}', text, re.DOTALL
    )
    return {name: (block or line).replace("\\$", "$") for name, block, line in found}


@pytest.mark.req("UI-5", "UI-6", "CON-13", "QUEUE-10", "QUEUE-11", "QUEUE-18", "K8S-1")
def test_the_configuration_starts_with_an_example_of_its_resource_that_the_server_takes(wire: Wire) -> None:
    examples = _examples()
    assert list(examples) == ["kubernetes", "local-container", "local-process", "sagemaker", "gcp-vertex"]
    for resource, text in examples.items():
        made = wire.mutate(
            "upsertRunQueue",
            "success configSchemaValidationErrors",
            entityName="team",
            projectName="model-registry",
            queueName=resource,
            resourceType=resource,
            resourceConfig=text,
        )
        assert made == {"success": True, "configSchemaValidationErrors": []}
    job = yaml.safe_load(examples["kubernetes"])
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "MY_ENV_VAR", "value": "some-value"}]
    assert job["namespace"] == "default"


def test_the_documents_that_the_page_sends_are_valid(wire: Wire) -> None:
    text = (_WEB / "api.js").read_text()
    documents = re.findall(r"export const [A-Z_]+ = (?:`(.*?)`|\"(.*?)\");", text, re.DOTALL)
    parts = re.search(r"const RUN_PARTS = `(.*?)`;", text, re.DOTALL)
    assert parts is not None
    assert len(documents) == 9
    values = {"entity": "team", "project": "p", "name": "q", "id": "x", "first": 1}
    given = {"entityName": "team", "projectName": "p", "queueName": "q"}
    for document, short in documents:
        queue = {**given, "resourceType": "kubernetes", "resourceConfig": "{}"}
        written = (document or short).replace("${RUN_PARTS}", parts[1])
        answer = wire.graphql(written, {**values, "input": queue})
        assert not answer.messages, written


def test_the_page_puts_nothing_in_as_html() -> None:
    for name in ("app.js", "api.js", "examples.js"):
        text = (_WEB / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
