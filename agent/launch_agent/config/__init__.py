"""From a YAML file, the environment and flags to an `AgentConfig`; from bad input to one clear error."""
