"""Why an installation failed, in words: what pip says is made for programmers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from slicer.i18n import tr as _

# In this order: without a network pip says in the end, too, that no version was found.
_SIGNS: tuple[tuple[str, Callable[[], str]], ...] = (
    (
        r"No space left on device|Errno 28\b|not enough space on the disk|WinError 112",
        lambda: _("The disk is full. Free some space, and try again."),
    ),
    (
        r"ProxyError|Cannot connect to proxy|407 Proxy|Tunnel connection failed",
        lambda: _("The proxy did not let the download through. Set HTTPS_PROXY to your proxy, and restart Slicer."),
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
        lambda: _("The server's certificate is not trusted here, as behind some hospital firewalls. Ask your IT."),
    ),
    (
        r"NewConnectionError|ConnectTimeoutError|ConnectionError|Connection refused|ReadTimeoutError|"
        r"Read timed out|name resolution|getaddrinfo failed|Network is unreachable|Connection broken|IncompleteRead",
        lambda: _("The download server cannot be reached, or stopped answering. Check the network, and try again."),
    ),
    (
        r"Permission denied|Errno 13\b|Access is denied|WinError 5\b|Read-only file system|Errno 30\b",
        lambda: _(
            "Slicer's folder cannot be written. Install Slicer in a folder of your own, or start it with rights."
        ),
    ),
    (
        r"WinError 32|being used by another process",
        lambda: _("A file is in use. Restart Slicer, and install before you do anything else."),
    ),
    (
        r"ResolutionImpossible|conflicting dependencies|Cannot install .* because",
        lambda: _("The packages do not fit to those that this Slicer has. Use the newest Slicer and TumorSeg."),
    ),
    (
        r"No matching distribution found|Could not find a version that satisfies",
        lambda: _("There is no version for this computer and this Slicer."),
    ),
)
_NO_VERSION = re.compile(r"No matching distribution found for (\S+)")


def reason(lines: Sequence[str]) -> str:
    """Why pip failed, by what it said: in words where that is known, else its own last line."""
    text = "\n".join(lines)
    found = next((words() for sign, words in _SIGNS if re.search(sign, text)), "")
    if not found:
        said = [line for line in lines if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")]
        return (errors or said or [_("pip said nothing.")])[-1]
    missing = _NO_VERSION.search(text)
    if missing is not None and found == _SIGNS[-1][1]():
        return _("There is no version of {package} for this computer and this Slicer.").format(package=missing[1])
    return found
