"""Random identifiers."""

import uuid

from pywatt_core.transports.ids import new_id


def test_ids_are_random_uuids():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    for id in ids:
        parsed = uuid.UUID(id)
        assert (str(parsed), parsed.version, parsed.variant) == (id, 4, uuid.RFC_4122)
