"""`python -m softmi.cli`."""

import sys

from softmi.cli import main

sys.exit(main())
