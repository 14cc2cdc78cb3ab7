"""`python -m embedgate.command`, where the script `embedgate` is not on the path."""

import sys

from embedgate.command import main

sys.exit(main())
