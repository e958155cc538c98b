"""`python -m lmwright` is the command `lmwright`."""

from lmwright.cli import main

main()
