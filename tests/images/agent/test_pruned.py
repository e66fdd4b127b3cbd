"""With what an image holds, and nothing else, an agent does its work: each rule of prune.yaml is used here.

A process of its own, with nothing but pruned packages to import, speaks to the services of the clouds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import google.auth.credentials
import pytest
from azure.storage.blob import ContainerClient
from google.cloud import storage

from launch_agent.assembly import wheels
from launch_agent.assembly.wheels import normal
from launch_agent.errors import ImageError
from launch_agent.images.agent import locks, prune, sweep, wheel
from launch_agent.images.agent.plan import Pruning
from tests.fakes.google_tokens import GoogleTokens
from tests.fakes.moto_server import REGION, Aws
from tests.fakes.stores import AZURE_KEY

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
EXTRAS = ("aws", "azure", "docker", "gcp", "image", "kubernetes")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Site-packages as in an image with every extra that an agent may have."""
    folder = tmp_path_factory.mktemp("pruned")
    site = folder / "site"
    site.mkdir()
    wanted = locks.subset(EXTRAS, PYTHON, "linux/amd64", omit=prune.packages(EXTRAS))
    rules = prune.files(EXTRAS, {*(each.name for each in wanted), "launch-agent"})
    saved = 0
    for package in wanted:
        for file in metadata.distribution(package.name).files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            if any(rule.drops(file.as_posix()) for rule in rules):
                saved += file.size or 0
                continue
            place = site / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), place)
    assert saved > 80_000_000, "the rules do not find what they are for any more"
    wheels.unpack([wheel.write(folder)], site, folder / "bin", interpreter=sys.executable)
    sweep.sweep(site, [rule.to_json() for rule in rules])
    return site


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """Runs a program with these packages only; what it printed."""

    def run(program: str, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{program}"],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **(env or {})},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


_IMPORT_ALL = """
import importlib, pkgutil, launch_agent
lacking = []
for found in pkgutil.walk_packages(launch_agent.__path__, "launch_agent."):
    if found.name.startswith("launch_agent.__main__") or ".images.agent.install" in found.name:
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        lacking.append(f"{found.name}: {error.name}")
print(lacking)
"""


def test_every_module_of_the_agent_can_be_imported(run: Run) -> None:
    assert run(_IMPORT_ALL) == "[]\n"


def test_commands_speak_to_a_terminal(run: Run) -> None:
    program = """
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.progress import Progress
console = Console(force_terminal=True)
table = Table("name"); table.add_row("\\U0001f680 launch \\u6f22")
with Live(table, console=console): pass
with Progress(console=console) as bars: bars.update(bars.add_task("x", total=1), completed=1)
"""
    assert "launch" in run(program)


_STORE = """
import json, os, pathlib
from launch_agent import plugins
from launch_agent.control import supplies
told = json.loads(os.environ["TOLD"])
environment = plugins.load("environments", told["environment"]["type"]).create(told["environment"])
store = plugins.load("stores", told["store"]).create(told["uri"], environment, {})
file = pathlib.Path(os.environ["HOME"], "context")
file.write_bytes(b"a context" * 1_000_000)
store.verify()
print(store.put(file, "k1"), bool(store.link("k1", 60).reveal()))
store.delete("k1")
if told.get("registry"):
    from launch_agent.spec.image import ImageRef
    registry = plugins.load("registries", "ecr").create(told["registry"], environment, {})
    print(registry.exists(ImageRef.parse(told["registry"] + ":none")), registry.credentials().username)
"""


def test_amazon_s3_and_ecr(run: Run, aws_server: Aws) -> None:
    name = f"b{uuid.uuid4().hex[:12]}"
    aws_server.client("s3").create_bucket(Bucket=name)
    repository = aws_server.client("ecr").create_repository(repositoryName=name)["repository"]
    told = {
        "environment": {"type": "aws", "region": REGION, "role": ""},
        "store": "s3",
        "uri": f"s3://{name}/contexts",
        "registry": repository["repositoryUri"],
    }
    said = run(_STORE, {"TOLD": json.dumps(told), **aws_server.variables})
    assert said.splitlines() == [f"s3://{name}/contexts/launch-context-k1 True", " AWS"]


def test_amazon_s_other_services_can_be_asked(run: Run) -> None:
    program = """
import boto3
for name in ("sts", "ecr", "s3", "sagemaker", "logs", "sso", "sso-oidc"):
    boto3.client(name, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
boto3.client("s3", region_name="eu-west-1", use_ssl=True).meta.endpoint_url
print(boto3.client("sts", region_name="cn-north-1").meta.endpoint_url)
"""
    assert "amazonaws.com.cn" in run(program)


def test_google_cloud_storage(run: Run, gcs_server: str, tmp_path: Path) -> None:
    client = storage.Client(
        project="treasure",
        credentials=google.auth.credentials.AnonymousCredentials(),
        client_options={"api_endpoint": gcs_server},
    )
    bucket = client.create_bucket(f"b{uuid.uuid4().hex[:12]}").name
    client.close()
    (tmp_path / "google").mkdir()
    told = {
        "environment": {"type": "gcp", "region": "", "project": "treasure"},
        "store": "gcs",
        "uri": f"gs://{bucket}/contexts",
    }
    with GoogleTokens(tmp_path / "google") as tokens:
        variables = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(tokens.key_file),
            "STORAGE_EMULATOR_HOST": gcs_server,
            "NO_GCE_CHECK": "true",
        }
        said = run(_STORE, {"TOLD": json.dumps(told), **variables})
    assert said == f"gs://{bucket}/contexts/launch-context-k1 True\n"


def test_azure_blob_storage(run: Run, azurite_server: str) -> None:
    name = f"c{uuid.uuid4().hex[:12]}"
    with ContainerClient(azurite_server, name, credential=AZURE_KEY) as made:
        made.create_container()
    told = {
        "environment": {"type": "azure"},
        "store": "azblob",
        "uri": f"{azurite_server}/{name}/contexts",
    }
    said = run(_STORE, {"TOLD": json.dumps(told), "AZURE_STORAGE_KEY": AZURE_KEY})
    assert said == f"{azurite_server}/{name}/contexts/launch-context-k1 True\n"


_KUBECONFIG = """
import base64, http.server, json, os, pathlib, threading, time
from launch_agent.clients.kube import access
def part(value): return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
old = f"{part({'alg': 'none'})}.{part({'exp': 1})}.x"
new = f"{part({'alg': 'none'})}.{part({'exp': int(time.time()) + 3600})}.x"
class Provider(http.server.BaseHTTPRequestHandler):
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200); self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_GET(self): self.answer({"token_endpoint": f"{url}/token"})
    def do_POST(self):
        self.answer({"id_token": new, "refresh_token": "r2", "token_type": "Bearer", "access_token": "a"})
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
url = f"http://127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()
file = pathlib.Path(os.environ["HOME"], "kubeconfig")
oidc = {"client-id": "c", "client-secret": "s", "id-token": old, "refresh-token": "r", "idp-issuer-url": url}
def user(name, value): return {"name": name, "user": value}
file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "a",
  "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
  "users": [user("t", {"token": "sesame"}), user("o", {"auth-provider": {"name": "oidc", "config": oidc}})],
  "contexts": [{"name": n, "context": {"cluster": "c", "user": u}} for n, u in (("a", "t"), ("b", "o"))]}))
for name in ("a", "b"):
    found = access.for_context(name, {"KUBECONFIG": str(file), "HOME": os.environ["HOME"]})
    (said,) = {k.lower(): v for k, v in found.credentials(False).items()}.values()
    print(said == {"a": "Bearer sesame", "b": f"Bearer {new}"}[name])
"""


def test_kubeconfig_files_with_tokens_and_an_identity_provider(run: Run) -> None:
    env = {"OAUTHLIB_INSECURE_TRANSPORT": "1"}
    assert run(f"import os; os.environ.update({env})\n{_KUBECONFIG}") == "True\nTrue\n"


def test_keys_are_signed_with(run: Run) -> None:
    program = """
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
how = (padding.PKCS1v15(), hashes.SHA256())
key.public_key().verify(key.sign(b"x", *how), b"x", *how)
form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
pem = key.private_bytes(*form)
from google.auth.crypt import RSASigner
print(len(RSASigner.from_string(pem).sign(b"x")))
"""
    assert run(program) == "256\n"


def test_the_docker_sdk_makes_clients(run: Run) -> None:
    program = "from launch_agent.clients import docker_engine as d; print(d.Engine.__name__)"
    assert run(program) == "Engine\n"


def test_where_no_images_are_made_their_commands_say_so(site: Path, run: Run, tmp_path: Path) -> None:
    """An image without the extra has neither what it needs nor the code that would need it."""
    own = tmp_path / "own"
    shutil.copytree(site / "launch_agent", own / "launch_agent")
    rules = prune.files(("aws",), {"launch-agent"})
    sweep.sweep(own, [rule.to_json() for rule in rules])
    assert not (own / "launch_agent" / "assembly").exists()
    program = f"""
import importlib.util, sys
sys.path.insert(0, {str(own)!r})
sys.modules["installer"] = None
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "installer" else real(name, *rest)
sys.argv = ["launch-agent", "image", "build"]
from launch_agent.cli.main import main
try:
    main()
except SystemExit as end:
    print(end.code)
"""
    assert run(program) == "3\n"
    assert "installer" not in run(
        f"import sys; sys.path.insert(0, {str(own)!r})\nimport launch_agent.control.wiring"
    )


@pytest.mark.req("CARD-1")
def test_every_rule_has_a_reason_and_finds_something() -> None:
    """A rule that finds nothing is about a package that has changed."""
    everything = (*EXTRAS, "server")
    locked = {each.name for each in locks.read()}
    assert set(prune.packages(everything)) <= locked
    for rule in prune.files(EXTRAS, locked | {"launch-agent"}):
        assert rule.reason.endswith(".")
        if not rule.package or normal(rule.package) == "launch-agent":
            continue
        files = [str(each) for each in metadata.distribution(rule.package).files or ()]
        matching = replaced(rule).drops if rule.instead is not None else rule.drops
        assert any(matching(file) for file in files), rule


def replaced(rule: Pruning) -> Pruning:
    return Pruning(pattern=rule.pattern, reason=rule.reason)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("**/tests", "a/b/tests/test_x.py", True),
        ("**/tests", "tests/x", True),
        ("**/tests", "a/latests/x", False),
        ("a/*.py", "a/b/c.py", False),
        ("a/*.[ch]", "a/b.h", True),
        ("a/*.[!ch]", "a/b.h", False),
        ("a", "ab", False),
        ("a.b", "axb", False),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert sweep.drops(path, pattern, ()) is fits


def test_a_rule_with_a_key_that_there_is_not_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "prune.yaml").write_text("packages: [{name: x}]\nfiles: []\n")
    monkeypatch.setattr(prune, "__file__", str(tmp_path / "prune.py"))
    with pytest.raises(ImageError, match="other keys"):
        prune.packages(())
