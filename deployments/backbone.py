"""`python -m deployments.backbone`: make the house backbone for the preset in the settings.

`fugu up` starts it together with the Prefect server: it takes a minute of one core, which the server's start and
labelling leave idle. The flow that needs the backbone waits for it, or makes it itself if this process was killed.
"""

from __future__ import annotations

from tasks.setup.preset import load_preset
from tasks.setup.router import backbone_path
from tasks.setup.settings import HOUSE, settings


def main() -> None:
    backbone_path(HOUSE, load_preset(settings().preset).backbone)


if __name__ == "__main__":
    main()
