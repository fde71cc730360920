"""Runs of pytest inside a test."""

# What such a run does not need of what is installed for the tests here: it takes longer to load than most runs take.
LEAN = tuple(
    word
    for plugin in ("anyio", "hypothesispytest", "pytest_cov", "timeout", "xdist", "xdist.looponfail")
    for word in ("-p", f"no:{plugin}")
)
