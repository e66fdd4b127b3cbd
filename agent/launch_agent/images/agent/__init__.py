"""The slim image of the agent: only what one config needs, the same bytes from the same inputs.

    needs    a config or values file -> the extras and programs that it needs, each with its reason
    locks    the lock of all extras -> the packages of some of them, for one Python and platform
    prune    what of the packages no agent uses, as data
    plan     everything that the image is to be, as a value
    wheel    the agent's own package as a wheel, from a checkout or from an installation
    render   plan -> a folder with Dockerfile, requirements, wheel

Two ways lead from a plan to an image: a Docker engine that builds the folder of `render`, and `assembly`,
which needs none. Both make the same file system.
"""
