"""How Sphinx builds these pages: ``sphinx-build -W docs build/docs`` (extra ``docs``)."""

import mpzmq

project = "mpzmq"
author = "the mpzmq authors"
release = mpzmq.__version__
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"mpzmq {release}"

myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
python_display_short_literal_types = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 100


def setup(app):
    """The vectors of the wire protocol are plain text."""
    from pygments.lexers.special import TextLexer

    app.add_lexer("vector", TextLexer)
