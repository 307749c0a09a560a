"""What the Hub answers about who may have a dataset. Neither `datasets` nor its cache is needed for that."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import build_hf_headers, validate_repo_id

from hf_localize.errors import RefusedError, UnreachableError, without_user
from hf_localize.format.manifest import Terms, known
from hf_localize.hf.doors.state import asking_the_hub_itself
from hf_localize.http.deadline import within
from hf_localize.http.retry import retrying

_MAX_SECONDS = 10.0


def terms_of(dataset_id: str, timeout_seconds: float, repo_type: str = "dataset") -> Terms | None:
    """Return the Hub's terms for *dataset_id*, or the id of another type of repository; None: it has none.

    It is asked with the Hub token in force: of a private dataset that the token may not see it says
    the same as of one that does not exist. A redirect from an old id, or from another letter case,
    is followed. An id that no dataset of the Hub can have is not asked for.

    Raises:
        UnreachableError: the Hub did not answer, or not as the Hub does.
    """
    try:
        validate_repo_id(dataset_id)
    except HFValidationError:
        return None
    answer = answer_of(f"/api/{repo_type}s/{quote(dataset_id)}", timeout_seconds)
    code, message = answer.headers.get("X-Error-Code", ""), answer.headers.get("X-Error-Message", "")
    if answer.ok:
        return _terms(answer)
    if code == "RepoNotFound" or stands_for_missing(answer):
        return None
    raise RefusedError(f"{shown_endpoint()} answers {answer.status_code} {message or code}".rstrip())


def stands_for_missing(answer: requests.Response) -> bool:
    """Tell whether a 401 stands for what is not there, as without a token; else the token is not valid."""
    message = answer.headers.get("X-Error-Message", "")
    return answer.status_code == 401 and bool(message) and "credentials" not in message


def answer_of(path: str, timeout_seconds: float) -> requests.Response:
    """Return the Hub's answer to a GET request with the Hub token in force.

    Raises:
        UnreachableError: there was none, or a failure of the server.
    """
    url = f"{constants.ENDPOINT}{path}"

    def ask() -> requests.Response:
        try:
            answer = asked("GET", url, timeout_seconds, headers=build_hf_headers())
        except requests.RequestException as exc:
            raise UnreachableError(f"couldn't reach {shown_endpoint()} ({type(exc).__name__})") from exc
        if answer.status_code >= 500:
            raise UnreachableError(f"{shown_endpoint()} answers {answer.status_code}")
        return answer

    return within(_seconds(timeout_seconds), lambda: retrying(path, ask))


def shown_endpoint() -> str:
    """Return the URL of the Hub, as it may be shown."""
    return without_user(str(constants.ENDPOINT))


def _terms(answer: requests.Response) -> Terms:
    try:
        document = answer.json()
        return Terms(str(document["id"]), *(known(document.get(name)) for name in ("gated", "private")))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise RefusedError(f"{shown_endpoint()} answers what the Hub does not") from exc


def asked(method: str, url: str, timeout_seconds: float, **options: Any) -> requests.Response:
    """Return the answer to one request.

    Raises:
        requests.RequestException, UnreachableError: there was none in time.
    """
    seconds = _seconds(timeout_seconds)

    def ask() -> requests.Response:
        with asking_the_hub_itself(), _Session() as session:
            # Any auth keeps requests from taking one out of ~/.netrc in place of the token.
            return session.request(method, url, timeout=seconds, auth=lambda request: request, **options)

    return within(seconds, ask)


def _seconds(timeout_seconds: float) -> float:
    return min(_MAX_SECONDS, timeout_seconds)


class _Session(requests.Session):
    """A session that sends a token to the host that it is meant for, and nothing out of ``~/.netrc``."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Take the token out of a request that is redirected to another host."""
        before, after = str(response.request.url), str(prepared_request.url)
        if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)
