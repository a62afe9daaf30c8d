"""Tests that the plugins for database servers share, as classes: a plugin's file of tests derives from one and says how its server
is asked. They look at the server itself, and into the pools; what a database promises to everybody is `DatabaseContract`."""

import pkgutil

import pytest

pytest.register_assert_rewrite(*[f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)])
