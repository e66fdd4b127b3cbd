"""Builds that are Jobs of the cluster: what the builders kaniko and buildkit share.

overlay    the config's partial Job laid over ours (pure)
manifest   a container, and what environment, store and registry add -> a build's Job and its Secrets (pure)
claims     whose a build's Job is: made or joined, left, found again
follow     a build's pod: its output, what keeps it from starting, its end
builder    one build: context up, Job, output, digest, everything removed
"""
