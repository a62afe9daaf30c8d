"""Results of operations, which the schema gives no key: found by all that a peer may put into them (protocol 3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol import exchanges
from pywatt_core.protocol.exchanges import LATE, Stray
from pywatt_core.protocol.messages import ServiceOperation, ServiceOperationResult, ServiceType
from pywatt_core.protocol.operations import OperationExchange, naming


@pytest.fixture
def operations() -> OperationExchange:
    return OperationExchange(ServiceOperation, ServiceOperationResult, "connection_id")


def operation(connection: str, request_id: str | None = None) -> ServiceOperation:
    return ServiceOperation(connection, ServiceType.DATABASE, "query", {}, request_id)


def result(**members: Any) -> ServiceOperationResult:
    return ServiceOperationResult(success=True, **members)


ECHO = {"connection_id": "c", "service_type": "Database", "operation": "query", "params": {}}


@pytest.mark.parametrize("members", [{"params": ECHO}, {"connection_id": "c"}, {"params": 5, "connection_id": "c"}])
def test_a_result_is_found_by_its_connection(operations: OperationExchange, members: dict[str, Any]) -> None:
    operations.expect(operation("other"))
    key = operations.expect(operation("c"))
    assert operations.resolve(result(**members)) == key


@pytest.mark.parametrize(
    "members", [{"request_id": "2"}, {"id": "2"}, {"params": {"request_id": "2"}}, {"connection_id": "c", "request_id": "2"}]
)
def test_a_result_is_found_by_its_request(operations: OperationExchange, members: dict[str, Any]) -> None:
    operations.expect(operation("c", "1"))
    key = operations.expect(operation("c", "2"))
    assert operations.resolve(result(**members)) == key


@pytest.mark.parametrize("members", [{}, {"request_id": "what the peer counts"}])
def test_a_result_that_names_nothing_is_that_of_the_only_connection_with_an_operation(
    operations: OperationExchange, members: dict[str, Any]
) -> None:
    key = operations.expect(operation("c"))
    assert operations.resolve(result(**members)) == key
    operations.expect(operation("a"))
    operations.expect(operation("b"))
    with pytest.raises(Stray, match="does not say which operation it belongs to"):
        operations.resolve(result())


def test_a_result_for_an_unknown_connection_is_stray(operations: OperationExchange) -> None:
    operations.expect(operation("c"))
    with pytest.raises(Stray):
        operations.resolve(result(connection_id="other"))


def test_the_echoed_connection_counts_more_than_its_own(operations: OperationExchange) -> None:
    assert naming({"params": ECHO, "connection_id": "other", "request_id": 5}) == ("c", None)
    operations.expect(operation("other"))
    key = operations.expect(operation("c"))
    assert operations.resolve(result(params=ECHO, connection_id="other")) == key


def test_after_a_timeout_the_next_result_of_the_connection_belongs_to_the_operation_given_up(operations: OperationExchange) -> None:
    operations.forget(operations.expect(operation("c")))  # type: ignore[arg-type]
    key = operations.expect(operation("c"))
    assert operations.resolve(result()) is LATE
    assert operations.resolve(result()) == key


def test_a_result_without_a_request_id_belongs_to_the_operation_without_one_although_another_is_older(
    operations: OperationExchange,
) -> None:
    older = operations.expect(operation("c", "1"))
    key = operations.expect(operation("c"))
    assert operations.resolve(result(connection_id="c")) == key
    assert operations.resolve(result(connection_id="c")) == older, "a peer that knows no request ids answers in order"


def test_without_request_ids_one_at_a_time_on_each_connection(operations: OperationExchange) -> None:
    operations.expect(operation("c"))
    with pytest.raises(LocalProtocolError, match="without request_id, one at a time on each connection_id"):
        operations.expect(operation("c"))
    operations.expect(operation("d"))
    operations.expect(operation("c", "1"))
    with pytest.raises(LocalProtocolError, match="the same request_id"):
        operations.expect(operation("d", "1"))


def test_a_malformed_result_is_found_like_any_other(operations: OperationExchange) -> None:
    key = operations.expect(operation("c"))
    assert operations.find({"connection_id": ["x"], "params": {"connection_id": "c"}}) == key
    assert operations.find({}) is None
    operations.forget(operations.expect(operation("c")))  # type: ignore[arg-type]
    assert operations.find({"connection_id": "c"}) is None


def test_what_still_waits_is_abandoned(operations: OperationExchange) -> None:
    key = operations.expect(operation("c"))
    operations.forget(operations.expect(operation("d")))  # type: ignore[arg-type]
    assert operations.abandon() == [key]
    assert operations.abandon() == []


def test_our_results_say_whose_they_are(operations: OperationExchange) -> None:
    operations.owe(operation("c"))
    for members in ({}, {"connection_id": "d"}, {"request_id": "1"}, {"params": "c"}):
        with pytest.raises(LocalProtocolError, match="it must echo in params"):
            operations.settle(result(**members))
    operations.settle(result(params=ECHO))
    with pytest.raises(LocalProtocolError):
        operations.settle(result(params=ECHO))


def test_results_may_be_sent_out_of_order_where_operations_have_ids(operations: OperationExchange) -> None:
    operations.owe(operation("c", "1"))
    operations.owe(operation("c", "2"))
    operations.settle(result(connection_id="c", request_id="2"))
    operations.settle(result(request_id="1"))
    with pytest.raises(LocalProtocolError):
        operations.settle(result(request_id="1"))


def test_an_operation_that_could_not_be_read_may_be_refused(operations: OperationExchange) -> None:
    operations.owe_malformed({"connection_id": 5})
    operations.owe_malformed({"connection_id": "c", "request_id": "1"})
    operations.settle(result(connection_id="c", request_id="1"))


def test_only_so_many_connections_are_remembered(operations: OperationExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "REMEMBERED", 2)
    monkeypatch.setattr("pywatt_core.protocol.operations.REMEMBERED", 2)
    for connection in "abc":
        operations.owe(operation(connection))
    with pytest.raises(LocalProtocolError):
        operations.settle(result(connection_id="a"))
    operations.settle(result(connection_id="b"))
