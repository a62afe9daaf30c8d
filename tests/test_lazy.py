import sys
import types

import pytest

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
