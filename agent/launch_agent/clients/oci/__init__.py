"""The one client for container registries: every kind of registry is asked through it.

`client.RegistryClient` is a registry, `repository.Repository` what is in it, `model` the nouns,
`referrers` what refers to an image, `dockerconfig` where credentials are kept by Docker.
"""
