import importlib
import sys
import types
from pathlib import Path

import pytest

import pywatt_core
from pywatt_core.lazy import lazily


def test_a_name_is_imported_when_it_is_first_used_and_remembered():
    package = types.ModuleType("email")
    find = lazily("email", {"utils": "formatdate parseaddr"})
    assert find("parseaddr")("Ada <ada@example.org>") == ("Ada", "ada@example.org")
    assert "parseaddr" in vars(sys.modules["email"])
    del sys.modules["email"].parseaddr
    with pytest.raises(AttributeError, match="module 'email' has no attribute 'nosuch'"):
        find("nosuch")
    assert not hasattr(package, "nosuch")


def test_no_module_takes_the_place_of_what_its_package_offers_under_that_name():
    """A package's lazy name is found only as long as no module of the same name has been imported."""
    found = []
    for path in sorted(Path(pywatt_core.__file__).parent.rglob("__init__.py")):
        folder = path.parent
        package = importlib.import_module(".".join(folder.relative_to(Path(pywatt_core.__file__).parents[1]).parts))
        for name in getattr(package, "__all__", ()):
            if (folder / f"{name}.py").exists():
                importlib.import_module(f"{package.__name__}.{name}")
                if isinstance(getattr(package, name), types.ModuleType):
                    found.append(f"{package.__name__}.{name}")
    assert not found
