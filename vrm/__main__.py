"""`python -m vrm` is `vrm`. An older or bare Python is told so here: the rest it could not even read."""

import sys

if not (3, 11) <= sys.version_info[:2] < (3, 15):
    found = f"{sys.version_info[0]}.{sys.version_info[1]} ({sys.executable})"
    sys.stderr.write(
        f"error: vrm needs Python 3.11, 3.12, 3.13 or 3.14; this is {found}\n"
        "hint: run it with such a one: python3.12 -m vrm; a checkout finds one itself: make setup\n"
    )
    raise SystemExit(1)

try:
    from vrm.cli import main

    code = main()  # which loads the rest
except ModuleNotFoundError as missing:
    if (missing.name or "vrm").partition(".")[0] == "vrm":
        raise
    sys.stderr.write(
        f"error: {missing.name} is not installed for {sys.executable}\n"
        "hint: in a checkout: make setup, then .venv/bin/vrm; else install vrm by pip or pipx\n"
    )
    raise SystemExit(1) from None

raise SystemExit(code)
