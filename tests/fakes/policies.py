"""The policies of the product's documents, word for word but for the names in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ecr(repository: str = "*") -> dict[str, Any]:
    """`repository` is the ARN. moto does not tell which resource of ECR is asked for, so tests that enforce
    the policy leave it at `*`."""
    actions = (
        "CreateRepository", "UploadLayerPart", "PutImage", "CompleteLayerUpload", "InitiateLayerUpload",
        "DescribeRepositories", "DescribeImages", "BatchCheckLayerAvailability", "BatchDeleteImage",
    )  # fmt: skip
    return _policy(
        {"Effect": "Allow", "Action": [f"ecr:{action}" for action in actions], "Resource": repository},
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
    )


def s3(bucket: str) -> dict[str, Any]:
    return _policy(
        {
            "Sid": "ListObjectsInBucket",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
        },
        {
            "Sid": "AllObjectActions",
            "Effect": "Allow",
            "Action": "s3:*Object",
            "Resource": [f"arn:aws:s3:::{bucket}/*"],
        },
    )


def sagemaker(*, region: str, account: str, role: str, key: str) -> dict[str, Any]:
    """As written: without the colon before the kind of resource, which matches no training job."""
    condition = {"kms:ViaService": f"sagemaker.{region}.amazonaws.com", "kms:GrantIsForAWSResource": "true"}
    return _policy(
        {
            "Effect": "Allow",
            "Action": "sagemaker:CreateTrainingJob",
            "Resource": f"arn:aws:sagemaker:{region}:{account}/*",
        },
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role},
        {
            "Effect": "Allow",
            "Action": "kms:CreateGrant",
            "Resource": key,
            "Condition": {"StringEquals": condition},
        },
    )


def without(policy: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The policy with one statement less."""
    kept = [each for number, each in enumerate(policy["Statement"]) if number != place]
    return {**policy, "Statement": kept}


def without_action(policy: Mapping[str, Any], action: str) -> dict[str, Any]:
    """The policy with one action less."""
    statements = []
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if kept := [each for each in actions if each != action]:
            statements.append({**statement, "Action": kept})
    return {**policy, "Statement": statements}


def _policy(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
