"""The health service of gRPC."""

import asyncio
from collections.abc import Iterable

from grpc_health.v1 import health
from grpc_health.v1 import health_pb2
from tensorflow_serving.apis import model_pb2

from serving import model_manager

_PERIOD_SECONDS = 0.1


class Health:
    """Keeps what the health service says in step with what is loaded.

    The server as a whole, the name '', serves when every model has a version
    that answers; so do its services under their full names. A model's name
    stands for this model.

    Args:
        manager: What is loaded.
        services: Full names of services.
    """

    def __init__(
        self, manager: model_manager.ModelManager, services: Iterable[str]
    ) -> None:
        self.servicer = health.aio.HealthServicer()
        self._manager = manager
        self._services = ("", *services)
        self._models: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Says what is so now, and from now on what changes."""
        await self._refresh()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Says NOT_SERVING for good, while running requests are answered."""
        if self._task is not None:
            self._task.cancel()
        await self.servicer.enter_graceful_shutdown()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            await self._refresh()

    async def _refresh(self) -> None:
        for service in self._services:
            await self._set(service, self._manager.available())
        models = set(self._manager.models)
        for model in models | self._models:
            if model not in self._services:
                spec = model_pb2.ModelSpec(name=model)
                await self._set(
                    model, model in models and self._manager.available(spec)
                )
        self._models = models

    async def _set(self, name: str, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self.servicer.set(
            name, status.SERVING if serving else status.NOT_SERVING
        )
