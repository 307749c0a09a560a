"""Installing and uninstalling in a program."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

import hf_localize
from hf_localize import errors
from hf_localize.hf.doors import clients
from hf_localize.shim import activation


def test_the_context_manager_restores_what_was_before() -> None:
    with hf_localize.installed(sources=("local",)):
        with hf_localize.installed(offline=True):
            assert hf_localize.is_installed()
        assert hf_localize.is_installed()
        with pytest.raises(errors.SettingsError, match="no such setting: nonsense"):  # noqa: SIM117
            with hf_localize.installed(nonsense=1):
                pass
        assert hf_localize.is_installed()
    assert not hf_localize.is_installed()
    from hf_localize.settings import current

    assert current().sources == ("local", "s3", "public", "hub")


def test_blocks_of_threads_that_overlap_stay_installed_until_the_last_one_ends() -> None:
    first, second = hf_localize.installed(offline=True), hf_localize.installed(sources=("local",))
    from hf_localize.settings import current

    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert (hf_localize.is_installed(), current().sources, current().offline) == (True, ("local",), False)
    second.__exit__(None, None, None)
    assert (hf_localize.is_installed(), current().sources) == (False, ("local", "s3", "public", "hub"))


def test_what_only_says_that_it_is_a_module_does_not_stand_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Library:  # As cffi makes them, of which cryptography has one in sys.modules.
        __slots__ = ()
        __class__ = ModuleType

    library = Library()
    assert isinstance(library, ModuleType)
    assert not hasattr(library, "__dict__")
    monkeypatch.setitem(sys.modules, "made_by_cffi", library)
    hf_localize.install()
    assert hf_localize.is_installed()
    hf_localize.uninstall()
    assert not hf_localize.is_installed()


def test_activation_looks_for_the_libraries_that_are_wrapped() -> None:
    assert set(activation._SENDERS) == clients._SENDERS.keys()
