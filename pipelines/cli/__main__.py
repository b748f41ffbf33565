"""`python -m pipelines.cli`: the command `zoo`."""

import sys

from pipelines.cli import main

sys.exit(main())
