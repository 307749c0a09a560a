"""The Hub's HTTP, answered from what is held: in this process, and by ``hg-localize serve``.

``answer``
    One pure function, from a request to a reply. It knows the routes and nothing of any HTTP library.
``clients``
    Wraps the methods by which httpx, requests and urllib send a request. Requests to other hosts than the
    Hub's cost a comparison of strings. Loads nothing until the Hub is asked for something.
``transport``
    Decides for a request to the Hub: answered here, sent on to the Hub, or refused at once as offline.
``state``
    What this thread's requests are for, and what this process has written. All that a load needs of this.
``senders``
    Does so for each HTTP library, and gives what is answered here as a response of that library.
``cache``
    Wraps three functions of huggingface_hub, so that files are linked into its cache in place of streamed,
    and ``local_files_only=True`` finds what is held.
``serve``
    A WSGI application around ``answer``.
"""

from __future__ import annotations

import os
import sys

#: The public addresses of the Hub. The last two redirect to the first.
_ADDRESSES = ("https://huggingface.co/", "https://hf.co/", "http://huggingface.co/")


def endpoints() -> tuple[str, ...]:
    """Return the addresses of the Hub, each with a slash at its end."""
    chosen = [os.environ.get("HF_ENDPOINT")]
    if constants := sys.modules.get("huggingface_hub.constants"):
        chosen.append(getattr(constants, "ENDPOINT", None))
    return (*_ADDRESSES, *{f"{url.rstrip('/')}/" for url in chosen if url})
