"""What is known of Kubernetes manifests without asking a cluster: where pods stand, what is added to them.

The runner, the policy, lint and the embedded server read manifests by this one vocabulary.
"""
