"""The docs as a site: `tox -e lint` builds it, and a warning fails."""

import re

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx

import p2p

project, version, html_title = "p2p", p2p.__version__, f"p2p {p2p.__version__}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"  # of `single` backticks, as docstrings have them
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
myst_heading_anchors = 3  # as GitHub names them


def lead_to_copies(app: Sphinx, name: str, content: list[str]) -> None:
    """Let links to two pages outside docs/ lead to their copies here."""
    for page in ("CHANGELOG", "CONTRIBUTING"):
        content[0] = content[0].replace(f"](../{page}.md", f"]({page.lower()}.md")


def list_fields(
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """Append the fields of settings, which are described where they are declared."""
    if what == "class" and isinstance(found, type) and issubclass(found, BaseModel):
        lines.append("")
        for field, told in found.model_fields.items():
            plain = told.default_factory is None and told.default not in (None, PydanticUndefined)
            default = f" [{told.default}]" if plain else ""
            text = re.sub(r"[*_|`\\]", r"\\\g<0>", told.description or "")
            lines.append(f"- ``{field}``{default}: {text}")


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", lead_to_copies)
    app.connect("autodoc-process-docstring", list_fields)
