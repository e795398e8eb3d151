"""The kernel "Python 3 (sandboxed)": a trusted front end to a sandbox, which never executes anything of a cell."""
