"""The way to a Kubernetes API server: access, requests, discovery, informers."""
