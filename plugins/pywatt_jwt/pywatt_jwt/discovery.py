"""OpenID Connect Discovery 1.0: where an issuer publishes its keys, with authlib's model of what it says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .options import check_url
from .remote import FetchError
from .tokens import json_object

if TYPE_CHECKING:
    from .remote import Fetcher, Find


def keys_of_issuer(issuer: str, *, allow_http: bool) -> Find:
    """Finds the ``jwks_uri`` in the issuer's configuration. An issuer that calls itself anything else is not believed."""

    async def found(fetcher: Fetcher) -> str:
        from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url

        place = get_well_known_url(issuer, external=True)
        document = await fetcher.get(place)
        try:
            said = OpenIDProviderMetadata(json_object(document.text.encode()))
        except ValueError:
            raise FetchError(f"{place} did not answer with a JSON object") from None
        if said.get("issuer") != issuer:
            raise FetchError(f"{place} is the configuration of another issuer: openid_issuer has to be written exactly as it writes itself")
        where = said.get("jwks_uri")
        plain = urlsplit(issuer).scheme == "http"  # this machine, or allowed by the operator
        try:
            if not plain:
                said.validate_issuer()
                said.validate_jwks_uri()
            if not isinstance(where, str):
                raise ValueError("jwks_uri is missing")
            check_url(where, "jwks_uri", allow_http=allow_http)
            if not plain and not allow_http and urlsplit(where).scheme != "https":
                raise ValueError("jwks_uri is not https, and the issuer is")
        except ValueError as error:
            raise FetchError(f"{place}: {error}") from None
        return where

    return found
