"""Container images put together from files, without a daemon and without privileges.

    entries   what a layer holds: files, folders, links, as values
    layer     entries -> a tar archive that is the same on every machine
    wheels    Python packages -> the files that an installation would leave
    image     base image + layers + settings -> manifest and configuration
    layout    images on disk: OCI layouts, archives for `docker load`
    transfer  images into registries: blobs first, the manifest last

Two parts use it: the generator of the agent's own image, and the builder `layers` for jobs.
"""
