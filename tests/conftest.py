"""What every test session needs: the fixtures shared across folders, and hypothesis's profiles.

`HYPOTHESIS_PROFILE` names one; with `CI` set it is `ci`, which tries more inputs and always the same
ones, so that a red build is red again when it is repeated.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fixtures.cluster", "tests.fixtures.docker", "tests.fixtures.clouds"]

# A first example pays for imports and schema compilation, and two cores may be shared: a deadline per example
# would measure the machine.
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=200,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
