"""Where a run is: from what is kept of its object and pods to a RunStatus, by pure functions.

`rules.make` and `rules.paths` read what the administrator says of kinds that the agent does not know;
`observe` says what the object tells (`gone` where there is none any more), `status_of` puts that together
with a diagnosis.
"""

from launch_agent.runners.kubernetes.status.final import status_of
from launch_agent.runners.kubernetes.status.model import Diagnosis, Observed
from launch_agent.runners.kubernetes.status.observe import gone, observe
from launch_agent.runners.kubernetes.status.rules import Rule

__all__ = ["Diagnosis", "Observed", "Rule", "gone", "observe", "status_of"]
