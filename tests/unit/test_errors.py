"""The errors' own logic: what a missing extra is, and what is another module's bug."""

import importlib

import pytest

from tapehouse.errors import MissingExtra, needs_extra


def test_a_module_that_an_extra_brings_is_named_with_what_to_install():
    with (
        pytest.raises(MissingExtra, match=r"^Charts need nomodule: run pip install 'tapehouse\[chart\]'\.$"),
        needs_extra("Charts need", "other", "nomodule", extra="chart"),
    ):
        importlib.import_module("nomodule.backends")


def test_any_other_module_that_is_missing_is_a_bug_and_said_so():
    with pytest.raises(ModuleNotFoundError, match="nomodule"), needs_extra("Charts need", "matplotlib", extra="chart"):
        importlib.import_module("nomodule")
