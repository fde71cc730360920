"""How Sphinx builds these pages: ``sphinx-build -W -n docs build/docs`` (extra ``docs``)."""

import mpzmq

# autodoc looks for the order of methods, and for what annotations mean, where a class says that it is defined.
for _name, _home in mpzmq._HOMES.items():
    if _home not in (None, "_version"):
        getattr(mpzmq, _name).__module__ = f"mpzmq.{_home}"

project = "mpzmq"
author = "the mpzmq authors"
release = mpzmq.__version__
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"mpzmq {release}"

# A button copies commands without their prompt and without what they show; what a program prints has none.
copybutton_selector = "div.highlight:not(.highlight-text *) pre"
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
python_display_short_literal_types = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 100

# What a signature names and no page of ours describes: Python's own types, and those that nobody imports.
nitpick_ignore_regex = [
    # "Mapping[str": a signature with a default that is made (`<factory>`) is no Python, and is cut at its commas.
    ("py:class", r"(.*\.)?(UUID|timedelta|Logger|Path|PathLike|Iterable|Future|(Mapping|dict)(\[str)?)"),
    ("py:class", r"(.*\.)?(LogRecord|TracerProvider|MeterProvider|Collector)"),
    ("py:class", r"(.*\.)?Abstract(Async)?ContextManager"),
    ("py:class", r"(.*\.)?(_H|_T|_M|_F|Middleware|Metadata|Server|Target)"),
]


def leave_options_out(app, what, name, obj, options, signature, returns):
    """An option that was left out has the service's default: the marker for that is no type for readers."""
    if signature is not None:
        signature = signature.replace(" | _U", "").replace("= UNSET", "= ...")
    return signature, returns


def keep_first_lines(app, what, name, obj, options, lines):
    """In ``"Where it serves: the endpoint"`` napoleon takes what stands before the colon for a type."""
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]


def skip_constructors(app, what, name, obj, skip, options):
    """Of the errors, handlers make ``Refused("why")`` and ``RemoteError``; the library makes the others."""
    if name == "__init__" and getattr(obj, "__module__", "mpzmq.errors") == "mpzmq.errors":
        return obj.__qualname__ != "RemoteError.__init__"
    return True if name == "__new__" else None


def find_public(app, env, node, contnode):
    """Finds ``mpzmq.errors.ConnectError``, or a bare ``ConnectError``, where it is described."""
    domain = env.domains["py"]
    words = node.get("reftarget", "").split(".")
    for tail in (f".{'.'.join(words[-2:])}", f".{words[-1]}"):
        found = [name for name in domain.objects if name.endswith(tail)]
        if len(found) == 1:
            return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], found[0], node, contnode)
    return None


def setup(app):
    """The hooks, and a name for the vectors of the wire protocol, which are plain text."""
    from pygments.lexers.special import TextLexer

    app.add_lexer("vector", TextLexer)
    app.connect("autodoc-process-signature", leave_options_out)
    app.connect("autodoc-process-docstring", keep_first_lines, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", skip_constructors)
    app.connect("missing-reference", find_public)
