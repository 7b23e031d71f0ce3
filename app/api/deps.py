"""What routes ask for: the services, and who is calling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.auth.keys import Principal, Scope
from app.errors import AuthenticationError
from app.services import Services
from app.telemetry import context
from app.telemetry.traces import describe, span

_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer anc_…`")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


def services_of(request: Request) -> Services:
    """The parts that the application opened when it started."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


async def principal_of(
    services: ServicesDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
) -> Principal:
    """Who is calling. Raises AuthenticationError."""
    key = bearer.credentials if bearer is not None else header
    if not key:
        raise AuthenticationError("This address needs an API key: send `Authorization: Bearer anc_…`.")
    with span("authenticate"):
        principal = await services.keyring.authenticate(key)
    describe({"anchorage.tenant": str(principal.tenant_id)})
    context.add(tenant=str(principal.tenant_id), key_id=str(principal.key_id))
    return principal


def _with(scope: Scope) -> Callable[[Principal], Awaitable[Principal]]:
    async def checked(principal: Annotated[Principal, Depends(principal_of)]) -> Principal:
        principal.require(scope)
        return principal

    return checked


QueryPrincipal = Annotated[Principal, Depends(_with(Scope.QUERY))]
IngestPrincipal = Annotated[Principal, Depends(_with(Scope.INGEST))]
AdminPrincipal = Annotated[Principal, Depends(_with(Scope.ADMIN))]
