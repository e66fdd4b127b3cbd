"""Values files of the Helm chart: found by their keys, merged, and judged with the launch config in them.

`judge` is the entrance. A values file is part of an installation: what is missing in it may come from another
file or from `--set`, so that only a merged set of files can be said to lack something.
"""
