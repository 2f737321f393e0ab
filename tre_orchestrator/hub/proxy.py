"""JupyterHub's view of its proxy. Routes are fixed in the gate, so the hub only believes that it owns them."""

from __future__ import annotations

from typing import Any

from jupyterhub.proxy import Proxy


class StaticProxy(Proxy):  # type: ignore[misc]
    """Remembers what the hub wants routed, and routes nothing."""

    should_start = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._routes: dict[str, dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Remember a route."""
        self._routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        """Forget a route."""
        self._routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """What was remembered."""
        return dict(self._routes)
