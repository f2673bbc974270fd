"""`python -m vrm` is `vrm`."""

from vrm.cli import main

raise SystemExit(main())
