"""Writes what a queue of SageMaker may hold, from the description of the API that botocore brings.

    python tools/sagemaker_api.py

The linter compares queues with it without the SDK; agents ask the SDK that they have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import botocore.session

from launch_agent.spec import shapes

TARGET = Path(__file__).parents[1] / "agent" / "launch_agent" / "spec" / "sagemaker_api.json"


def text() -> str:
    """The file as it is to be."""
    model = botocore.session.Session().get_service_model("sagemaker")
    shape = model.operation_model("CreateTrainingJob").input_shape
    return json.dumps(shapes.extract(shape), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"wrote {TARGET}\n")
