"""The example with roles: signed in at one module, let in by another, and turned away where it is none of one's business."""

import pytest

from pywatt_core.testing import fetch


@pytest.fixture
def members(example_of):
    return example_of("members")


async def sign_in(up, name, code="open-sesame"):
    return await fetch(up.door, "POST", "/accounts/login", json_body={"name": name, "code": code})


async def test_tokens_of_one_module_open_the_other_and_roles_decide(members):
    async with members.running() as up:
        said = {name: {"authorization": f"Bearer {(await sign_in(up, name)).json()['token']}"} for name in ("ada", "bob")}
        assert (await sign_in(up, "ada", "wrong")).status == (await sign_in(up, "eve")).status == 403

        assert (await up.get("/accounts/me", headers=said["bob"])).json() == {"sub": "bob", "roles": ["member"]}
        assert (await up.get("/reports/mine", headers=said["ada"])).json() == {"report": "what ada has read"}
        assert (await up.get("/reports/catalogue")).status == 200

        for path in ("/accounts/me", "/reports/mine", "/reports/all"):
            refused = await up.get(path)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert (await up.get(path, headers={"authorization": "Bearer a.b.c"})).status == 401
        assert (await up.get("/reports/all", headers=said["bob"])).status == 403
        assert (await up.get("/reports/all", headers=said["ada"])).json() == {"report": "what everybody has read"}

        assert (await fetch(up.door, "DELETE", "/accounts/people/bob", headers=said["bob"])).status == 403
        assert (await fetch(up.door, "DELETE", "/accounts/people/bob", headers=said["ada"])).json() == ["ada"]
        assert (await sign_in(up, "bob")).status == 403

        schema = (await up.get("/accounts/openapi.json")).json()
        assert schema["paths"]["/me"]["get"]["security"] == [{"jwt": []}]
        assert {"401", "403"} <= set(schema["paths"]["/people/{name}"]["delete"]["responses"])

        assert await up.interrupt() == 0
        assert "this-key-is-for-the-example" not in up.output
        assert "Traceback" not in up.output


async def test_with_a_key_of_its_own_a_module_checks_tokens_itself(members):
    file = members.folder / "pywatt.toml"
    own = 'use = "jwt"\nsecret_key = "secret:JWT_KEY"\naudience = "members"'
    text = file.read_text().replace('authenticate = "tokens"', "").replace('use = "orchestrator"\nservice = "tokens"', own)
    file.write_text(text)
    async with members.running() as up:
        token = (await sign_in(up, "bob")).json()["token"]
        said = {"authorization": f"Bearer {token}"}
        assert (await up.get("/reports/mine", headers=said)).json() == {"report": "what bob has read"}
        assert (await up.get("/reports/all", headers=said)).status == 403
        assert (await up.get("/reports/mine")).json() == {"error": "Missing Authorization header"}
        assert (await up.get("/accounts/me")).json() == {"detail": "Missing Authorization header"}
