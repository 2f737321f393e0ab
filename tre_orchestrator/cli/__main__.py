"""`python -m tre_orchestrator.cli` is `tre`."""

from tre_orchestrator.cli.main import main

main()
