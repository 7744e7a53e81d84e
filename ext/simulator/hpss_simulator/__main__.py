"""C{python -m hpss_simulator}."""

from hpss_simulator.command import main

raise SystemExit(main())
