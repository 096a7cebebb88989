"""The limit of open files, raised to what the system allows: a client costs one, a server connection another.

Called by ``app`` at start; ``config.crosscheck`` compares the configuration with the hard limit.
"""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)


def raise_open_files() -> int:
    """Raises the soft limit to the hard one. Returns the soft limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # some containers forbid it
        _log.warning("cannot raise the limit of open files from %d to %d: %s", soft, hard, error)
        return soft
    return hard
