"""Values of people's own types become plain ones and are themselves again; what goes wrong is named and not shown."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from pywatt_core.errors import LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.lenient import Unreadable
from pywatt_core.protocol.typed import from_plain, guarded_reader, plain
from pywatt_core.protocol.values import ServiceType


class Model(pydantic.BaseModel):
    data: bytes
    secret: pydantic.SecretStr = pydantic.SecretStr("hush")
    inner: Model | None = None


@dataclass
class Holder:
    model: Model
    service: ServiceType
    pair: tuple[int, str] = (1, "a")


HOLDER = Holder(Model(data=b"\xff", inner=Model(data=b"")), ServiceType.custom("x"))


def test_plain_values_are_plain_all_the_way_down_and_bytes_stay_bytes() -> None:
    made = plain(HOLDER)
    assert made == {
        "model": {"data": b"\xff", "secret": "**********", "inner": {"data": b"", "secret": "**********", "inner": None}},
        "service": {"Custom": "x"},
        "pair": (1, "a"),
    }


def test_a_plain_value_becomes_its_type_again() -> None:
    back = from_plain(plain(HOLDER), Holder)
    assert isinstance(back, Holder)
    assert (back.service, back.pair, back.model.data) == (HOLDER.service, HOLDER.pair, b"\xff")
    assert from_plain({"data": b"a"}, Model) == Model(data=b"a", secret=pydantic.SecretStr("hush"))
    value = {"any": object()}
    assert from_plain(value, Any) is value


def test_pydantics_own_kinds_of_value_are_text_and_its_secrets_are_hidden() -> None:
    assert plain([pydantic.AnyUrl("https://a.test/"), pydantic.SecretStr("hush")]) == ["https://a.test/", "**********"]


@pytest.mark.parametrize("value", [object(), print, {(1, 2): 3}, {b"k": 1}, complex(1)])
def test_what_has_no_plain_form_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        plain([value])


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (ValueError("about the value"), "about the value"),
        (KeyError("canary"), r"not readable \(KeyError\)"),
        (RecursionError(), "nested deeper"),
        (ZeroDivisionError("canary"), r"not readable \(ZeroDivisionError\)"),
        (UnicodeDecodeError("utf-8", b"canary", 0, 1, "canary"), "not UTF-8"),
        (Unreadable("already said", kind="encoding"), "^already said$"),
        (RemoteProtocolError("already said"), "^already said$"),
    ],
)
def test_whatever_reading_raises_is_the_senders_mistake(error: Exception, complaint: str) -> None:
    def read(_: Any) -> Any:
        raise error

    with pytest.raises(RemoteProtocolError, match=complaint) as caught:
        guarded_reader(read)(b"")
    assert "canary" not in str(caught.value)


def test_a_type_that_nobody_can_read_is_our_own_mistake() -> None:
    class Foreign:
        pass

    for kind in (Foreign, list[Foreign]):
        with pytest.raises(LocalProtocolError, match="no way to read a Foreign"):
            guarded_reader(lambda value, kind=kind: from_plain(value, kind))([1])


def test_pydantic_is_not_imported_for_those_who_do_not_use_it() -> None:
    code = (
        "import sys, dataclasses\n"
        "from pywatt_core.protocol.payloads import read_payload, write_bare\n"
        "D = dataclasses.make_dataclass('D', [('x', int)])\n"
        "assert read_payload(write_bare(D(1))).decode(D) == D(1)\n"
        "assert 'pydantic' not in sys.modules, 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_msgspec_completes_a_models_complaint_with_its_path() -> None:
    reading = guarded_reader(lambda value: from_plain(value, Holder))
    with pytest.raises(Unreadable, match=r"data: Field required - at `\$\.model`"):
        reading({"model": {}, "service": "Cache"})
    with pytest.raises(Unreadable, match=r"Expected \"Database\".* - at `\$\.service`"):
        reading({"model": {"data": b""}, "service": 5})
    assert issubclass(msgspec.ValidationError, ValueError), "which `safe_text` counts on"
