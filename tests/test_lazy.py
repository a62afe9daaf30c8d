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


def test_no_package_offers_a_name_that_one_of_its_modules_has():
    """Importing such a module would put it in the place of what the package offers under that name."""
    found = []
    for path in sorted(Path(pywatt_core.__file__).parent.rglob("__init__.py")):
        folder = path.parent
        package = importlib.import_module(".".join(folder.relative_to(Path(pywatt_core.__file__).parents[1]).parts))
        names = getattr(package, "__all__", ())
        found += [f"{package.__name__}.{name}" for name in names if (folder / f"{name}.py").exists() or (folder / name).is_dir()]
    assert not found
