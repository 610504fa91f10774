"""`python -m deployments.backbone`: makes the house's backbone of the settings' preset.

`fugu up` starts it first of all: it takes a minute of one core, which the Prefect server's start and the labelling
leave idle. The flow that needs the backbone waits for it, or makes it itself where this was killed.
"""

from __future__ import annotations

from tasks.setup.preset import load_preset
from tasks.setup.router import HOUSE, backbone_path
from tasks.setup.settings import settings


def main() -> None:
    backbone_path(HOUSE, load_preset(settings().preset).backbone)


if __name__ == "__main__":
    main()
