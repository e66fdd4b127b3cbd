"""The target resource `kubernetes`: Jobs, Pods and custom resources of a cluster."""
