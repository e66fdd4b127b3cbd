"""Container images put together from files, without a daemon and without privileges.

    entries   what a layer holds: files, folders, links, as values
    layer     entries -> a tar archive that is the same on every machine
    fetching  locked packages -> wheels for any platform, from a cache or by pip
    wheels    wheels -> the files that an installation would leave
    image     base image + layers + settings -> manifest and configuration
    origin    where images are read from: registries, layouts, archives
    programs  what a base image has: Python, git
    contents  what is in a layer: packages, licences, bytes
    layout    images onto disk: OCI layouts, archives for `docker load`
    transfer  images into registries: blobs first, the manifest last
    kept      layers and blobs that are kept between builds

Two parts use it: the generator of the agent's own image, and the builder `layers` for jobs.
"""
