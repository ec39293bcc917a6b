"""`python -m autoinstrument`."""

from autoinstrument.cli import main

main()
