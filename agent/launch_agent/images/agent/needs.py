"""A launch config, or the chart's values around one, -> what an agent of it needs, each with its reason.

The same decisions as `control.supplies` and `control.targets` make when an agent starts, made before there is
an image. Kubernetes needs no package: in a pod the agent's own client does everything, and only who reads a
kubeconfig file needs the official one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from launch_agent.config import document, judge, load, model, schema
from launch_agent.config.destination import CLOUD, Kind
from launch_agent.config.finding import stop
from launch_agent.config.merge import merge
from launch_agent.config.model import AgentConfig
from launch_agent.config.values import recognise
from launch_agent.config.values.view import View, filled_later, view
from launch_agent.errors import ConfigError
from launch_agent.spec.secret import Secret

# Extra by cloud, and cloud by the scheme of a store's address.
_STORES = {"s3": "aws", "gs": "gcp", "https": "azure"}
_CLOUD_NAMES = {"aws": "Amazon Web Services", "gcp": "Google Cloud", "azure": "Microsoft Azure"}
_REGISTRIES = {
    Kind.ECR: "Amazon ECR",
    Kind.GAR: "Google Artifact Registry",
    Kind.ACR: "Azure Container Registry",
}
# Variables by which a container's programs find an engine or a cluster of another place.
_ENGINE, _KUBECONFIG = "DOCKER_HOST", "KUBECONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """`extras` and `programs` (Debian's packages) with the reasons for each; `notes` say what is not needed
    although one might think so. `port` is where the agent answers about its health, 0 where the config does
    not say. `plain_http` is what the config says of its registry. `name` is the config's files."""

    name: str
    extras: Mapping[str, Sequence[str]] = field(default_factory=dict)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    port: int = 0
    plain_http: bool = False


class _Reasons(dict[str, list[str]]):
    def add(self, name: str, reason: str) -> None:
        self.setdefault(name, []).append(reason)


def read(files: Mapping[str, bytes]) -> Needs:
    """What the config in the files needs: one launch config, or values of which later ones are laid over
    earlier ones, as by `helm -f`. Raises ConfigError for files that an agent could not be started with."""
    name = ", ".join(files)
    values = {file: _value(file, data) for file, data in files.items()}
    kinds = {file: judge.kind_of(value) for file, value in values.items()}
    if judge.Kind.QUEUE_CONFIG in kinds.values():
        raise ConfigError(
            "this is a queue's configuration, and an image is made for an agent's",
            file=name,
            hint="name a launch config, or values of the chart",
        )
    if judge.Kind.CHART_VALUES in kinds.values():
        return _of_values(files, name)
    if len(files) > 1:
        raise ConfigError(
            "several launch configs make no one agent",
            file=name,
            hint="name one, or values files of the chart, of which later ones are laid over earlier ones",
        )
    (file, data), *_ = files.items()
    normal, found = load.examine(document.read(data, file=file))
    stop(found, file=file, see="launch-agent lint shows all")
    return _needs(name, _config(normal), normal.value, values=None)


def _value(file: str, data: bytes) -> Any:
    """The file's value, as far as its kind can be told; Helm's files may be empty."""
    try:
        return document.read(data, file=file).value
    except ConfigError:
        return judge.layer(data, file=file).value


def _of_values(files: Mapping[str, bytes], name: str) -> Needs:
    merged = merge([judge.layer(data, file=file) for file, data in files.items()])
    prefixes = recognise.parts(merged.value) or [()]
    if len(prefixes) > 1:
        raise ConfigError(
            "there are values of several agents in it", file=name, hint="name values of one agent"
        )
    seen = view(merged, prefixes[0])
    if not seen.key:
        raise ConfigError(
            "there is no launch config in these values, so it cannot be told what its agent needs",
            file=name,
            hint="add the file that has launchConfig: -c base.yaml -c cluster.yaml",
        )
    given = seen.value[seen.key]
    if filled_later(given) and "\n" not in str(given).strip():
        raise ConfigError(
            f"{seen.key} is encrypted, or filled in later",
            file=name,
            hint="give the values as Helm gets them",
        )
    normal, found = load.examine_value(seen.read_config(), claim=bool(seen.get("kanikoPvcName")))
    stop(found, file=name, see="launch-agent lint shows all")
    return _needs(name, _config(normal), normal.value, values=seen)


def _config(normal: Any) -> AgentConfig:
    filled = schema.fill(load.SCHEMA, normal.value)
    filled.setdefault("name", "agent")
    return model.make(
        filled,
        normal.destination,
        normal.repository,
        Secret(""),
        schema.fill("registry", normal.registry),
    )


def _needs(name: str, config: AgentConfig, given: Mapping[str, Any], values: View | None) -> Needs:
    extras, programs, notes = _Reasons(), _Reasons(), list[str]()
    _clouds(config, extras)
    _targets(config, given, values, extras, notes)
    _builder(config, values, extras, programs)
    return Needs(
        name=name,
        extras={extra: tuple(reasons) for extra, reasons in sorted(extras.items())},
        programs={program: tuple(reasons) for program, reasons in sorted(programs.items())},
        notes=tuple(notes),
        port=config.metrics.port,
        plain_http=bool(config.builder.registry_options.get("plain-http")),
    )


def _clouds(config: AgentConfig, extras: _Reasons) -> None:
    """Whose SDK is imported: the environment's, and that of a store of another cloud."""
    cloud = config.environment.type
    if cloud in _CLOUD_NAMES:
        extras.add(cloud, f"environment.type is {cloud}: credentials of {_CLOUD_NAMES[cloud]}")
    builder = config.builder
    where = builder.destination or builder.repository
    kind = Kind(builder.registry) if builder.registry in set(Kind) else None
    # In another environment than its cloud's a registry is one like any other, opened by a Docker config.
    if where and kind is not None and CLOUD.get(kind) == cloud:
        extras.add(cloud, f"builder.destination {where} is one of {_REGISTRIES[kind]}")
    if store := str(builder.options.get("build-context-store", "")):
        extra = _STORES.get(urlsplit(store).scheme, "")
        if extra:
            extras.add(extra, f"builder.build-context-store {store} is one of {_CLOUD_NAMES[extra]}")


def _targets(
    config: AgentConfig, given: Mapping[str, Any], values: View | None, extras: _Reasons, notes: list[str]
) -> None:
    """What the runners import. Which of them jobs use is known by their queues only, so what the config says
    of a runner counts, and where it runs."""
    said = given.get("runner") or {}
    if "sagemaker" in said:
        extras.add("aws", "runner.sagemaker: jobs run on Amazon SageMaker")
    if "vertex" in said:
        extras.add("gcp", "runner.vertex: jobs run on Vertex AI")
    context = config.runner.get("kubernetes", {}).get("context")
    if context:
        extras.add("kubernetes", f"runner.kubernetes.context is {context}: a kubeconfig file is read")
    elif values is not None and _variable(values, _KUBECONFIG):
        extras.add("kubernetes", f"the variable {_KUBECONFIG} is set: a kubeconfig file is read")
    in_cluster = values is not None or "kubernetes" in said or config.builder.type in ("kaniko", "buildkit")
    if in_cluster and "kubernetes" not in extras:
        notes.append("Kubernetes is reached by the pod's service account, which needs no package")
    if "local-container" in said:
        extras.add("docker", "runner.local-container: jobs are containers of a Docker engine")
    elif values is not None and _variable(values, _ENGINE):
        extras.add("docker", f"the variable {_ENGINE} is set: jobs are containers of that engine")
    elif not in_cluster and not said:
        extras.add("docker", "no target is named: jobs may be containers of a Docker engine")


def _builder(config: AgentConfig, values: View | None, extras: _Reasons, programs: _Reasons) -> None:
    kind = config.builder.type
    if kind == "docker":
        extras.add("docker", "builder.type is docker")
    if kind == "layers":
        extras.add("image", "builder.type is layers: the agent puts images together by itself")
    if kind == "buildkit" and config.builder.options.get("buildkit-address"):
        programs.add("buildctl", "builder.buildkit-address: the daemon is spoken to by buildctl")
    builds = kind not in ("", "noop") or "docker" in extras
    if builds and kind != "noop":
        programs.add("git", f"images are built ({kind or 'docker'}), of repositories too")
    ssh = values.get("sshAuthSecrets") if values is not None else None
    if ssh:
        programs.add("openssh-client", "sshAuthSecrets: repositories are reached over SSH")


def _variable(values: View, name: str) -> bool:
    """Whether the values give the agent's container a variable."""
    for key in ("additionalEnvVars", "additionalSecretEnvVars"):
        found = values.get(key)
        if isinstance(found, Mapping) and name in found:
            return True
        if isinstance(found, list) and any(
            isinstance(each, Mapping) and each.get("name") == name for each in found
        ):
            return True
    return False
