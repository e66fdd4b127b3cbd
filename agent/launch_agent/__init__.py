"""A job-launch agent for machine-learning platforms: from a queue to a running container.

The folders are the architecture; `control.wiring` tells how they fit together.
"""

__version__ = "0.1.0"
