"""Who the agent is in a cloud: the policies by which a cloud trusts the service account of the agent's pod.

The documents show none. Each cloud has one way that needs no key, which is written here; names that only the
cluster knows are placeholders, unless they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from launch_agent.permissions import Cloud, Document, Grant, Needs

VERSION = "2012-10-17"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The service account of the agent's pod."""

    namespace: str = "<NAMESPACE>"
    account: str = "<SERVICE-ACCOUNT>"

    @property
    def subject(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.account}"


def documents(needs: Needs, cloud: Cloud, pod: Pod) -> list[Document]:
    """How an agent in a pod becomes somebody in a cloud."""
    match cloud:
        case Cloud.AWS:
            return [_irsa(needs, pod), _pod_identity(pod)]
        case Cloud.GCP:
            return [_workload_identity(needs, pod)]
        case Cloud.AZURE:
            return [_federated_credential(pod)]
    return []


def _irsa(needs: Needs, pod: Pod) -> Document:
    region = needs.config.environment.region if needs.config.environment.type == "aws" else ""
    start = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    provider = f"oidc.eks.{region or '<REGION>'}.amazonaws.com/id/<CLUSTER-ID>"
    action = "sts:AssumeRoleWithWebIdentity"
    federated = f"arn:{start}:iam::<ACCOUNT-ID>:oidc-provider/{provider}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": federated},
        "Action": action,
        "Condition": {
            "StringEquals": {f"{provider}:sub": pod.subject, f"{provider}:aud": "sts.amazonaws.com"}
        },
    }
    return Document(
        cloud=Cloud.AWS,
        name="agent-trust-irsa",
        purpose="the trust policy of the agent's role, on EKS with IAM roles for service accounts",
        body={"Version": VERSION, "Statement": [statement]},
        grants=[Grant(name=action, on="the agent's role", why="the agent's pod becomes the role")],
        notes=["Annotate the service account: eks.amazonaws.com/role-arn: <ARN-OF-THE-AGENTS-ROLE>."],
    )


def _pod_identity(pod: Pod) -> Document:
    actions = ["sts:AssumeRole", "sts:TagSession"]
    statement: Mapping[str, object] = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": actions,
    }
    why = "EKS lends the agent's pod the role, with tags that say which pod it is"
    return Document(
        cloud=Cloud.AWS,
        name="agent-trust-pod-identity",
        purpose="the trust policy of the agent's role, on EKS with Pod Identity; one of the two is enough",
        body={"Version": VERSION, "Statement": [statement]},
        grants=[Grant(name=action, on="the agent's role", why=why) for action in actions],
        notes=[
            "Then: aws eks create-pod-identity-association --cluster-name <CLUSTER> "
            f"--namespace {pod.namespace} --service-account {pod.account} "
            "--role-arn <ARN-OF-THE-AGENTS-ROLE>."
        ],
    )


def _workload_identity(needs: Needs, pod: Pod) -> Document:
    environment = needs.config.environment
    project = (environment.type == "gcp" and environment.project) or "<PROJECT>"
    role = "roles/iam.workloadIdentityUser"
    member = f"serviceAccount:{project}.svc.id.goog[{pod.namespace}/{pod.account}]"
    return Document(
        cloud=Cloud.GCP,
        name="agent-trust",
        purpose="the policy of the agent's Google service account, on GKE with workload identity",
        body={"bindings": [{"role": role, "members": [member]}]},
        grants=[Grant(name=role, on="<AGENT-ACCOUNT>", why="the agent's pod becomes the account")],
        notes=["Annotate the service account: iam.gke.io/gcp-service-account: <AGENT-ACCOUNT>."],
    )


def _federated_credential(pod: Pod) -> Document:
    return Document(
        cloud=Cloud.AZURE,
        name="agent-trust",
        purpose="a federated credential of the agent's managed identity, on AKS with workload identity",
        body={
            "name": "launch-agent",
            "issuer": "<OIDC-ISSUER-URL>",
            "subject": pod.subject,
            "audiences": ["api://AzureADTokenExchange"],
        },
        grants=[
            Grant(name="federated credential", on="<IDENTITY>", why="the agent's pod becomes the identity")
        ],
        notes=[
            "Annotate the service account: azure.workload.identity/client-id: <CLIENT-ID>, and label the "
            "agent's pod azure.workload.identity/use: 'true'."
        ],
    )
