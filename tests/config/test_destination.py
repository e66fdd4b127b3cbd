"""Image repositories in every spelling that documents and clouds have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.config.destination import Destination, Kind, of_ecr, of_gar, parse
from launch_agent.errors import ImageError

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/jobs"


@pytest.mark.req("CON-33", "CON-34", "IMG-6")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ECR, Destination(uri=ECR, kind=Kind.ECR, region="us-east-1")),
        (ECR.replace("dkr.", ""), Destination(uri=ECR, kind=Kind.ECR, region="us-east-1")),
        (f"https://{ECR}/", Destination(uri=ECR, kind=Kind.ECR, region="us-east-1")),
        (f"{ECR}:v1", Destination(uri=ECR, kind=Kind.ECR, region="us-east-1", tag="v1")),
        (f"{ECR}/team/nested", Destination(uri=f"{ECR}/team/nested", kind=Kind.ECR, region="us-east-1")),
        (
            "1.ecr.cn-north-1.amazonaws.com.cn/x",
            Destination(uri="1.dkr.ecr.cn-north-1.amazonaws.com.cn/x", kind=Kind.ECR, region="cn-north-1"),
        ),
        (
            "1.dkr.ecr-fips.us-gov-west-1.amazonaws.com/x",
            Destination(
                uri="1.dkr.ecr-fips.us-gov-west-1.amazonaws.com/x", kind=Kind.ECR, region="us-gov-west-1"
            ),
        ),
        (
            "123456789012.dkr-ecr.eu-west-1.on.aws/x",
            Destination(uri="123456789012.dkr-ecr.eu-west-1.on.aws/x", kind=Kind.ECR, region="eu-west-1"),
        ),
        (
            "europe-west4-docker.pkg.dev/p/r/i",
            Destination(
                uri="europe-west4-docker.pkg.dev/p/r/i",
                kind=Kind.GAR,
                region="europe-west4",
                project="p",
                image="i",
            ),
        ),
        (
            "us-docker.pkg.dev/example.com/p/r/deep/i",
            Destination(
                uri="us-docker.pkg.dev/example.com/p/r/deep/i",
                kind=Kind.GAR,
                region="us",
                project="example.com:p",
                image="deep/i",
            ),
        ),
        ("eu.gcr.io/p/i", Destination(uri="eu.gcr.io/p/i", kind=Kind.GAR, project="p", image="i")),
        ("https://reg.azurecr.io/team/jobs", Destination(uri="reg.azurecr.io/team/jobs", kind=Kind.ACR)),
        ("Reg.AzureCR.io/jobs", Destination(uri="reg.azurecr.io/jobs", kind=Kind.ACR)),
        ("localhost:5000/a/b", Destination(uri="localhost:5000/a/b", kind=Kind.GENERIC)),
        (
            "registry.example.com:5000/x:1",
            Destination(uri="registry.example.com:5000/x", kind=Kind.GENERIC, tag="1"),
        ),
        ("team/jobs", Destination(uri="team/jobs", kind=Kind.GENERIC)),
    ],
)
def test_spellings(text: str, expected: Destination) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "https://", "a b", "registry.example.com/", "https://localhost:5000", "Jobs", "x/y:", "a@b"]
)
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(ImageError):
        parse(text)


@given(st.text())
def test_no_text_crashes(text: str) -> None:
    try:
        found = parse(text)
    except ImageError:
        return
    assert parse(found.uri).uri == found.uri


@pytest.mark.parametrize(
    ("location", "region", "inside"),
    [
        ("us-east-1", "us-east-1", True),
        ("us", "us-central1", True),
        ("us", "europe-west4", False),
        ("", "x", True),
    ],
)
def test_continents_hold_their_regions(location: str, region: str, inside: bool) -> None:
    assert Destination(uri="x", kind=Kind.GAR, region=location).lies_in(region) is inside


def test_parts_make_an_address() -> None:
    assert of_ecr(account="1", region="us-east-1", repository="x") == "1.dkr.ecr.us-east-1.amazonaws.com/x"
    assert of_ecr(account="1", region="cn-north-1", repository="x").endswith(".amazonaws.com.cn/x")
    address = of_gar(region="us-west1", project="example.com:p", repository="r", image="i")
    assert parse(address).project == "example.com:p"
