"""Fills the templates of cards, reports and pages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "templates"


def fill(name: str, context: Mapping[str, Any]) -> str:
    """Values are escaped in HTML. A value that is missing raises jinja2.UndefinedError."""
    environment = Environment(loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, autoescape=name.endswith(".html"))
    return environment.get_template(name).render(context) + "\n"
