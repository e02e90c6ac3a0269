"""A saved model up to the Hugging Face Hub, and down from it.

Only the files that save_pretrained writes go either way: tensors as safetensors, text as JSON and
Markdown, and nothing that could hold a pickle.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from peclip_fast.errors import InputError, one_line
from peclip_fast.hub.card import CARD_FILE
from peclip_fast.version import __version__

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
BACKBONE_FILES = ("backbone/open_clip_config.json", f"backbone/{WEIGHTS_FILE}")
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *BACKBONE_FILES)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_LIBRARY = "peclip-fast"


def is_name(source: str | Path) -> bool:
    """Whether a text could name a model on the Hub, as USER/NAME; a Path never does."""
    return isinstance(source, str) and bool(_NAME.fullmatch(source))


def check_name(name: str) -> None:
    """Raise InputError for what can't name a model on the Hub."""
    if not is_name(name):
        raise InputError(f"{name}: expected the name of a model on the Hub, as USER/NAME")


def download(
    name: str,
    revision: str | None = None,
    token: str | bool | None = None,
    cache: str | Path | None = None,
    offline: bool = False,
) -> Path:
    """The folder in the Hub's cache with a saved model.

    Args:
        name: USER/NAME.
        revision: a branch, a tag or a commit; ``main`` unless given.
        token: of the user; the one that ``hf auth login`` or HF_TOKEN has left, unless given;
            False sends none.
        cache: where downloads are kept; the Hub's own place (HF_HUB_CACHE) unless given.
        offline: take what is in the cache and ask nobody.

    Raises:
        InputError: there is none, it isn't for this user, the Hub can't be reached and the cache
            doesn't have it, or it is no model of this package; names it.
    """
    from huggingface_hub import snapshot_download

    check_name(name)
    with _told(name, revision):
        folder = snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache,
            local_files_only=offline,
            allow_patterns=list(FILES),
            library_name=_LIBRARY,
            library_version=__version__,
        )
    found = Path(folder)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (found / file).is_file():
            raise InputError(f"{name}: no model of peclip-fast; expected {file} in it")
    return found


def upload(
    folder: Path,
    name: str,
    revision: str | None = None,
    token: str | bool | None = None,
    private: bool | None = None,
    message: str = "Upload a peclip-fast model",
) -> str:
    """Make the repository unless it is there, and commit a saved model to it.

    Args:
        folder: that save_pretrained wrote.
        name: USER/NAME.
        revision: a branch, which is made if it isn't there; ``main`` unless given.
        token: as for ``download``; it must be one that may write.
        private: whether a repository that is made is private; the account's default unless given.
        message: of the commit.

    Returns:
        the address of the commit.

    Raises:
        InputError: the Hub can't be reached, or doesn't let this user write there; names it.
    """
    from huggingface_hub import HfApi

    check_name(name)
    api = HfApi(token=token, library_name=_LIBRARY, library_version=__version__)
    with _told(name, writes=True):
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            allow_patterns=list(FILES),
        )
    return str(done.commit_url)


@contextlib.contextmanager
def _told(name: str, revision: str | None = None, writes: bool = False) -> Iterator[None]:
    """The Hub's errors as one line each."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(f"{name}: one has to ask for access first, at {hub}/{name}") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{name}: no such folder here, and no such model at {hub} for this user; a private one "
            "needs a token, by `hf auth login`, HF_TOKEN or token="
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{name}: has no revision {revision!r} at {hub}") from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(f"{name}: not in the cache, and {_unreached(error, hub)}") from error
    except errors.HFValidationError as error:
        raise InputError(f"{name}: {one_line(error)}") from error
    except errors.LocalTokenNotFoundError as error:
        raise InputError(f"{name}: no token is here; expected one by `hf auth login`") from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError(f"{name}: {_unreached(error, hub)}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            what = "write there" if writes else "read it"
            raise InputError(
                f"{name}: {hub} doesn't let this user {what} ({status}); expected a token that "
                "may, by `hf auth login`, HF_TOKEN or token="
            ) from error
        told = error.server_message or one_line(error)
        raise InputError(f"{name}: {hub} answered {status} ({told[:200]})") from error
    except (errors.HTTPError, OSError) as error:  # the connection's
        raise InputError(f"{name}: {_unreached(error, hub)}") from error


def _unreached(error: BaseException, hub: str) -> str:
    """Why nobody was asked, or what became of the question."""
    from huggingface_hub import constants, errors

    cause = error.__cause__ or error
    if isinstance(cause, errors.OfflineModeIsEnabled) or constants.is_offline_mode():
        return f"{hub} isn't asked, as HF_HUB_OFFLINE is set"
    if isinstance(cause, errors.HfHubHTTPError):
        return f"{hub} answered {cause.response.status_code}"
    if isinstance(cause, errors.LocalEntryNotFoundError):
        return f"{hub} isn't asked, as it is to be offline"
    return f"{hub} can't be reached ({one_line(cause)[:200]})"
