"""The documents of the repository, and the code blocks in them, for the tests that run what they show."""

import re

from tests.conftest import ROOT

README, SERVICE, TRAINING = "README.md", "service/README.md", "training/README.md"
DOCUMENTS = [README, SERVICE, TRAINING, "docker/README.md", "tests/README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
KUBERNETES = "docker/kubernetes/README.md"  # its commands need a cluster: test_kubernetes.py


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(document), flags=re.MULTILINE | re.DOTALL)


def block(document: str, language: str, word: str) -> str:
    [found] = (content for content in blocks(document, language) if word in content)
    return found


def commands(*documents: str) -> list[str]:
    found = (line for document in documents or DOCUMENTS for content in blocks(document, "sh") for line in content.splitlines())
    return list(dict.fromkeys(found))


def prose(document: str) -> list[str]:
    """The lines that are neither code nor part of a table."""
    without_code = re.sub(r"^ *```.*?^ *```", "", read(document), flags=re.MULTILINE | re.DOTALL)
    return [line for line in without_code.splitlines() if not line.startswith("|")]
