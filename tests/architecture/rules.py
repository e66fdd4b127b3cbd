"""The house rules, each a function from parsed modules to the sentences that say what breaks it.

CONTRIBUTING.md gives the reasons. A rule reads source text only; what a module does when it is imported is
watched by `import_probe.py`.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping

from tests.architecture.source import Module, imports, own_imports

# Bottom first. A module may import its own group and the groups of earlier rows; the groups of one row do not
# know each other. The longest prefix decides: `control.loop` before `control`.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("spec",),
    ("config",),
    ("clients", "telemetry", "plugins", "permissions"),
    ("registries", "stores", "environments", "assembly"),
    ("queues", "sources", "images", "builders", "runners"),
    ("control",),
    ("control.tracker",),  # the pipeline hands it what it started, so it lies below
    ("control.pipeline",),
    ("control.loop",),
    ("server", "control.wiring"),
    ("cli",),
    ("__main__", "init"),
)
PLACES = {group: row for row, groups in enumerate(LAYERS) for group in groups}

# Third-party packages that belong to a kind: who may import them. A name ending in a slash is a folder.
SDKS: Mapping[str, tuple[str, ...]] = {
    "docker": ("clients/docker_engine.py", "runners/docker/", "builders/docker.py"),
    # What the docker and Google SDKs raise where nobody answers.
    "requests": ("clients/docker_engine.py", "stores/gcs.py"),
    "kubernetes": ("clients/kube/kubeconfig.py",),  # more memory than the rest of an agent
    "boto3": ("environments/aws.py", "stores/s3.py", "registries/ecr.py", "runners/sagemaker/"),
    "botocore": ("environments/aws.py", "stores/s3.py", "registries/ecr.py", "runners/sagemaker/"),
    "google": ("environments/gcp.py", "stores/gcs.py", "registries/gar.py", "runners/vertex/"),
    "azure": ("environments/azure.py", "stores/azblob.py", "registries/acr.py"),
    "installer": ("assembly/wheels.py",),
    "packaging": ("assembly/wheels.py", "images/agent/locks.py"),
    "ariadne": ("server/",),
    "graphql": ("server/",),
    "starlette": ("server/",),
    "uvicorn": ("server/",),
    "sqlalchemy": ("server/",),
    "psycopg": ("server/",),
}

BROAD = {"Exception", "BaseException"}
# The last one calls functions of others in the thread of a watch, which none of them may end.
BROAD_ALLOWED = ("control/loop.py", "control/pipeline.py", "clients/kube/informer.py")
SOCKETS = {
    "QueueClient", "Source", "Environment", "ContextStore", "Registry", "Builder", "Runner", "Run",
}  # fmt: skip
EMPTY_FILES = {"utils", "util", "helpers", "helper", "common", "misc"}
EMPTY_SUFFIXES = ("Manager", "Helper", "Helpers", "Util", "Utils")
MAX_FILE, MAX_FUNCTION = 400, 60

WORLD_CALLS = {
    "open", "getenv", "read_text", "read_bytes", "write_text", "write_bytes", "expanduser", "home", "cwd",
    "getcwd", "iterdir", "glob", "rglob", "exists", "is_file", "is_dir", "mkdir", "urlopen", "gethostname",
    "getaddrinfo", "Popen", "check_output", "check_call", "getpass", "getuser",
}  # fmt: skip


def place(name: str) -> str | None:
    """The group of LAYERS that a module belongs to; None where the table has no place for it."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        group = ".".join(parts[:size])
        if group in PLACES:
            return group
    return None


def layers(module: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    """Imports point down, and siblings do not know each other."""
    if not module.name:
        if list(own_imports(module, modules)):
            yield "the package's own __init__ imports one of its modules, so every import pays for it"
        return
    own = place(module.name)
    if own is None:
        yield "has no place in the layers: add its folder to LAYERS"
        return
    for line, target in own_imports(module, modules):
        other = place(target) if target else own
        if other is None or other == own:
            continue
        if PLACES[other] > PLACES[own]:
            yield f"line {line}: {own} imports {target}, which is above it"
        elif PLACES[other] == PLACES[own]:
            yield f"line {line}: {own} imports {target}, its sibling"


def cycles(modules: Mapping[str, Module]) -> Iterator[str]:
    """No module reaches itself; imports inside functions and for type checkers count too."""
    graph = {
        name: {target for _, target in own_imports(module, modules)} - {name}
        for name, module in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield " <- ".join(error.args[1])


def sizes(module: Module) -> Iterator[str]:
    """Files and functions that a reader can hold in the head."""
    lines = len(module.text.splitlines())
    if lines > MAX_FILE:
        yield f"has {lines} lines; {MAX_FILE} at most"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                yield f"line {node.lineno}: {node.name} has {length} lines; {MAX_FUNCTION} at most"


def broad_excepts(module: Module) -> Iterator[str]:
    """Only the loop's tick and the pipeline's launch turn any exception into a state."""
    if module.path in BROAD_ALLOWED:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or BROAD & set(_names(node.type))):
            yield f"line {node.lineno}: broad except"
        elif isinstance(node, ast.Call) and "suppress" in _names(node.func):
            suppressed = {name for argument in node.args for name in _names(argument)}
            if BROAD & suppressed:
                yield f"line {node.lineno}: broad suppress"


def import_time(module: Module) -> Iterator[str]:
    """Nothing is read from the world, and nothing is started, by importing a module."""
    for node in _run_at_import(module.tree):
        if isinstance(node, ast.Attribute | ast.Name) and _names(node)[-1] == "environ":
            yield f"line {node.lineno}: reads the environment at import"
        elif isinstance(node, ast.Call) and _names(node.func)[-1:] and _names(node.func)[-1] in WORLD_CALLS:
            yield f"line {node.lineno}: calls {_names(node.func)[-1]} at import"


def sdk_imports(module: Module) -> Iterator[str]:
    """An SDK is imported in the file of its kind, and at its top."""
    top = {node.lineno for node in module.tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    for line, target in imports(module):
        allowed = SDKS.get(target.split(".", maxsplit=1)[0])
        if allowed is None:
            continue
        if not any(
            module.path == home or (home[-1] == "/" and module.path.startswith(home)) for home in allowed
        ):
            yield f"line {line}: imports {target}, which belongs to {', '.join(allowed)}"
        elif line not in top and not _for_types_only(module, line):
            yield f"line {line}: imports {target} below the top of the file"


def prints(module: Module) -> Iterator[str]:
    """Output is the command line's, through click.echo; everything else logs."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and _names(node.func) == ["print"]:
            yield f"line {node.lineno}: print"


def docstrings(module: Module) -> Iterator[str]:
    """Every module says what it is."""
    if not (ast.get_docstring(module.tree) or "").strip():
        yield "has no module docstring"


def names(module: Module) -> Iterator[str]:
    """A name says what a thing is; a drawer for odd ends says nothing."""
    if module.name.rpartition(".")[2] in EMPTY_FILES:
        yield "is a file for anything; name it for what it holds"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(EMPTY_SUFFIXES):
            yield f"line {node.lineno}: class {node.name} has an empty name"


def socket_checks(module: Module) -> Iterator[str]:
    """What plugs into a socket is used through its protocol, never asked for its class."""
    for node in ast.walk(module.tree):
        asked: list[str] = []
        if isinstance(node, ast.Call) and _names(node.func) in (["isinstance"], ["issubclass"]):
            asked = [name for argument in node.args[1:] for name in _names(argument)]
        elif isinstance(node, ast.MatchClass):
            asked = _names(node.cls)
        for name in sorted(SOCKETS & set(asked)):
            yield f"line {getattr(node, 'lineno', 0)}: asks whether a value is a {name}"


def _names(node: ast.AST) -> list[str]:
    """The identifiers in an expression, in reading order: `a.b` gives [a, b], `(A, m.B)` gives [A, m, B]."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_names(node.value), node.attr]
    if isinstance(node, ast.Tuple):
        return [name for element in node.elts for name in _names(element)]
    if isinstance(node, ast.BinOp):
        return [*_names(node.left), *_names(node.right)]
    if isinstance(node, ast.Call):
        return _names(node.func)
    return []


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run at import: class bodies, decorators and default values, not function bodies."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [value for value in child.args.kw_defaults if value is not None]
            for part in (*child.decorator_list, *child.args.defaults, *defaults):
                yield part
                yield from _run_at_import(part)
            continue
        if isinstance(child, ast.If) and "__name__" in {
            name for part in ast.walk(child.test) for name in _names(part)
        }:
            continue
        yield child
        yield from _run_at_import(child)


def _for_types_only(module: Module, line: int) -> bool:
    """Whether a line stands in a module-level `if TYPE_CHECKING:` block."""
    return any(
        isinstance(node, ast.If)
        and "TYPE_CHECKING" in _names(node.test)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        for node in module.tree.body
    )
