"""``python -m mpzmq`` is the command ``mpzmq``."""

import sys

from .cli import main

sys.exit(main())
