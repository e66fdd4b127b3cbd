"""The jobs that the interop tests run: short programs for an interpreter that has the real `wandb` package.

They are texts, not files of this folder, since they run in containers and home folders that do not have it.
"""

from __future__ import annotations

# A training run in small: a default that the submitter may override, two steps, a summary.
TRAIN = """
import os
import re
import wandb

with wandb.init(config={"lr": 0.5, "layers": 2}) as run:
    run.log({"loss": 1.0})
    run.log({"loss": 0.5})
    run.summary["best"] = 0.5
    run.summary["env"] = {name: os.environ.get(name) for name in (
        "WANDB_LAUNCH", "WANDB_LAUNCH_QUEUE_NAME", "WANDB_LAUNCH_QUEUE_ENTITY", "WANDB_LAUNCH_TRACE_ID",
        "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID", "WANDB_USERNAME", "WANDB_NAME", "WANDB_DOCKER",
    )}
    run.summary["chunks"] = sum(re.fullmatch(r"WANDB_CONFIG_\\d+", name) is not None for name in os.environ)
    print("trained with", run.config.lr)
"""

# Runs until it is told to end: `wandb.init` turns a stop into KeyboardInterrupt, as Ctrl-C does. It hears of
# the stop in the server's answer to what it sends, and looks whether it has, every 15 seconds each.
FOREVER = """
import time
import wandb

with wandb.init():
    while True:
        time.sleep(0.1)
"""
