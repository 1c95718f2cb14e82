"""`python -m imbalance_cli` is `imbalance`."""

from imbalance_cli.cli import main

main()
