"""What a run has recorded on our server is read again by `wandb.Api()`, unmodified."""

from __future__ import annotations

import pytest

from tests.fakes.backend import Backend
from tests.fakes.wandb_sandbox import WandbSandbox

pytestmark = [pytest.mark.interop]


def test_a_run_is_read_again(backend: Backend, sandbox: WandbSandbox) -> None:
    read = sandbox.script(
        """
        import pathlib, wandb
        entity = sys.argv[1]
        where = {"entity": entity, "project": "vision", "id": "reread01"}
        with wandb.init(**where, config={"lr": 0.1}, tags=["a"]) as run:
            pathlib.Path("model.txt").write_text("weights")
            run.save("model.txt")
            for step in range(3):
                run.log({"loss": 1 / (step + 1)})
        again = wandb.Api().run(f"{entity}/vision/reread01")
        result({
            "state": again.state, "config": again.config, "tags": again.tags, "loss": again.summary["loss"],
            "history": [row["loss"] for row in again.history(pandas=False)],
            "files": [file.name for file in again.files()],
            "model": again.file("model.txt").download(root="again").read(),
            "runs": [run.id for run in wandb.Api().runs(f"{entity}/vision")],
        })
        """,
        backend.entity,
    )

    assert read.pop("files")
    assert read == {
        "state": "finished",
        "config": {"lr": 0.1},
        "tags": ["a"],
        "loss": 1 / 3,
        "history": [1, 1 / 2, 1 / 3],
        "model": "weights",
        "runs": ["reread01"],
    }


def test_what_the_server_does_not_keep_does_not_hold_a_run_up(
    backend: Backend, sandbox: WandbSandbox
) -> None:
    """Artifacts are not kept here: the client says so and the run goes on to its end."""
    sandbox.script(
        """
        import pathlib, wandb
        with wandb.init(entity=sys.argv[1], project="vision", id="artifact") as run:
            pathlib.Path("model.txt").write_text("weights")
            model = wandb.Artifact("model", "model")
            model.add_file("model.txt")
            run.log_artifact(model)
            run.log({"table": wandb.Table(columns=["a"], data=[[1]])})
        result(True)
        """,
        backend.entity,
    )

    run = backend.run("vision", "artifact")
    assert run is not None
    assert (run["state"], run["exitCode"]) == ("finished", 0)
