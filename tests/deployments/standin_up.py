"""`fugu` with the stand-ins in place of flows and endpoint."""

from __future__ import annotations

import sys
from pathlib import Path

from deployments import provision, up
from deployments.cli import main

up.ENDPOINT = "standin_endpoint"
provision.PREFECT_FILE = Path(sys.argv.pop(1))
main()
