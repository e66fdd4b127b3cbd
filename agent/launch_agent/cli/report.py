"""Findings as text for people, JSON for programs, annotations for GitHub, a report for GitLab, SARIF for code
scanning."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from launch_agent import __version__
from launch_agent.config.finding import Finding, Severity

Findings = Mapping[str, Sequence[Finding]]

_HOME = "https://github.com/launch-agent/launch-agent"
_GITHUB_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_GITLAB_LEVELS = {Severity.ERROR: "major", Severity.WARNING: "minor", Severity.NOTE: "info"}
# One line for each code of a finding; SARIF viewers show it as the rule's name.
RULES = {
    "builder-advice": "Another builder suits this set-up better",
    "contradiction": "Two values exclude each other",
    "environment-inferred": "The cloud is known from an address only",
    "images-stay": "Built images stay on one machine",
    "missing-key": "A key is missing",
    "no-config": "There is no launch config in these values",
    "no-credentials": "Nothing opens what is to be used",
    "no-queue": "The file names no queue",
    "not-a-target": "The agent has no rights in a namespace",
    "not-checked": "The file is of a kind that is not checked",
    "not-usable": "No job can run with this",
    "older-form": "There is a newer way to write this",
    "placeholder": "A placeholder is not filled in",
    "plain-http": "Credentials travel unencrypted",
    "plain-secret": "A credential is written in plain text",
    "refused-by-default": "Agents refuse this unless their policy allows it",
    "replaced-whole": "One file's value takes the place of another's as a whole",
    "said-twice": "One thing is said in two places",
    "tag-ignored": "A tag has no effect here",
    "too-many": "There is more to say than is shown",
    "unknown-host": "A server need not show who it is",
    "unknown-key": "There is no such key",
    "unknown-kind": "The file is of no known kind",
    "unreadable": "The file cannot be read",
    "unused-key": "A key has no effect here",
    "wrong-level": "A key stands at the wrong level",
    "wrong-type": "A value is of the wrong type",
    "wrong-value": "A value is not among the possible ones",
}


def render(findings: Findings, form: str) -> str:
    """The report in one of `FORMS`, without a final line feed; empty where the form has nothing to say."""
    return FORMS[form](findings)


def tally(findings: Findings) -> str:
    """How many findings of which kind in how many files."""
    counts = Counter(finding.severity for found in findings.values() for finding in found)
    parts = [_plural(counts[severity], severity.value) for severity in Severity if counts[severity]]
    return f"{_plural(len(findings), 'file')}: {', '.join(parts) or 'no findings'}"


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _text(findings: Findings) -> str:
    lines = []
    for file, found in findings.items():
        for finding in found:
            place = f"{file}:{finding.line}:{finding.column}" if finding.line else file
            key = f"{finding.key}: " if finding.path else ""
            lines.append(f"{place}: {finding.severity}: {key}{finding.message} [{finding.code}]")
            if finding.hint:
                lines.append(f"    hint: {finding.hint}")
    return "\n".join(lines)


def _json(findings: Findings) -> str:
    rows = [
        {
            "file": file,
            "line": finding.line,
            "column": finding.column,
            "severity": finding.severity.value,
            "code": finding.code,
            "key": finding.key,
            "message": finding.message,
            "hint": finding.hint,
            "meant": finding.meant,
        }
        for file, found in findings.items()
        for finding in found
    ]
    return json.dumps({"version": 1, "files": list(findings), "findings": rows}, indent=2, ensure_ascii=False)


def _github(findings: Findings) -> str:
    """Workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    lines = []
    for file, found in findings.items():
        for finding in found:
            place = f",line={finding.line},col={finding.column}" if finding.line else ""
            title = _property(f"{finding.code}{f' at {finding.key}' if finding.path else ''}")
            hint = f"\nhint: {finding.hint}" if finding.hint else ""
            level = _GITHUB_LEVELS[finding.severity]
            text = _data(finding.message + hint)
            lines.append(f"::{level} file={_property(file)}{place},title={title}::{text}")
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _gitlab(findings: Findings) -> str:
    """A Code Quality report: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format.

    A fingerprint is that of a finding without its line, so that GitLab knows it again when it moves.
    """
    rows = [
        {
            "description": _sentence(finding),
            "check_name": finding.code,
            "fingerprint": hashlib.sha256(
                "\0".join((file, finding.code, finding.key, finding.message)).encode()
            ).hexdigest(),
            "severity": _GITLAB_LEVELS[finding.severity],
            "location": {"path": str(PurePosixPath(file)), "lines": {"begin": finding.line or 1}},
        }
        for file, found in findings.items()
        for finding in found
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _sentence(finding: Finding) -> str:
    key = f"{finding.key}: " if finding.path else ""
    return f"{key}{finding.message}" + (f" ({finding.hint})" if finding.hint else "")


def _sarif(findings: Findings) -> str:
    """SARIF 2.1.0 (OASIS), one run."""
    codes = sorted({finding.code for found in findings.values() for finding in found})
    rules = [{"id": code, "name": _pascal(code), "shortDescription": {"text": RULES[code]}} for code in codes]
    results = [
        _result(file, finding, codes.index(finding.code))
        for file, found in findings.items()
        for finding in found
    ]
    driver = {"name": "launch-agent lint", "version": __version__, "informationUri": _HOME, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    log = {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(log, indent=2, ensure_ascii=False)


def _result(file: str, finding: Finding, rule: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(file)}}
    if finding.line:
        place["region"] = {"startLine": finding.line, "startColumn": finding.column}
    location: dict[str, Any] = {"physicalLocation": place}
    if finding.path:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.key}]
    text = f"{finding.message} ({finding.hint})" if finding.hint else finding.message
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": finding.severity.value,
        "message": {"text": text},
        "locations": [location],
    }


def _uri(file: str) -> str:
    path = PurePosixPath(file)
    return path.as_uri() if path.is_absolute() else quote(str(path))


def _pascal(code: str) -> str:
    return "".join(part.capitalize() for part in code.split("-"))


FORMS = {"text": _text, "json": _json, "github": _github, "gitlab": _gitlab, "sarif": _sarif}
