"""Where a run is: from what is kept of its object and pods to a RunStatus, by pure functions.

observe(workload, rules, pods)   what the object says, by the table of its kind
gone(kind)                       the object is not there any more
status_of(observed, diagnosis)   the two put together
"""

from launch_agent.runners.kubernetes.status.final import status_of
from launch_agent.runners.kubernetes.status.model import Diagnosis, Observed
from launch_agent.runners.kubernetes.status.observe import gone, observe
from launch_agent.runners.kubernetes.status.rules import Rule

__all__ = ["Diagnosis", "Observed", "Rule", "gone", "observe", "status_of"]
