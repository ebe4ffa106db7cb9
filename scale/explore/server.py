"""The server of `scale explore`: Voilà, with kernels that end with their pages."""

import json
import os
from typing import Any, get_args

from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import APIHandler
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.utils import url_path_join
from tornado.ioloop import PeriodicCallback
from voila.app import Voila

from scale.explore import kernels
from scale.viz.words import Language, label

CHECK_SECONDS = 2
"""Time between two searches for kernels that have died."""


class ShutdownHandler(APIHandler):
    """Ends the kernel of a page that is closed.

    Without the token against cross-site requests, which a browser does not send with its last
    message (Voilà's own handler refuses it with 403): a kernel's id cannot be guessed.
    """

    def check_xsrf_cookie(self) -> None:
        """Accept the request."""

    async def post(self, kernel_id: str) -> None:
        """End a kernel; an unknown one counts as ended."""
        await end(self.kernel_manager, kernel_id)
        self.set_status(204)
        self.finish()


async def end(manager: Any, kernel_id: str) -> None:
    """End a kernel at once, unless it is unknown."""
    if kernel_id in manager:
        await ensure_async(manager.shutdown_kernel(kernel_id, now=True))


def add_words(page_config: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the texts that the page shows while it loads, by language."""
    keys = "xp_building", "xp_scripts", "xp_gone", "xp_slow", "xp_reload"
    words = {lang: {key: label(key, lang) for key in keys} for lang in get_args(Language)}
    words["lang"] = json.loads(os.environ[kernels.SETTINGS])["lang"]
    return page_config | {"scaleWords": words}


class PageKernelManager(AsyncMappingKernelManager):
    """Ends idle kernels without a page, but none that is still starting."""

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """End a kernel that has been idle for too long."""
        if self._kernels[kernel_id].execution_state != "starting":
            await super().cull_kernel_if_idle(kernel_id)


class PageServer(Voila):
    """Voilà with forked kernels, which end with their pages; the page of a dead kernel shows it."""

    def init_settings(self) -> dict:
        """Return the settings of the web application."""
        self.voila_configuration.page_config_hook = add_words
        if kernels.CAN_FORK:
            kernels.register()
        settings = super().init_settings()
        PeriodicCallback(self._remove_dead, 1000 * CHECK_SECONDS).start()
        return settings

    async def _remove_dead(self) -> None:
        """Remove kernels that have died, whose pages then show it."""
        for kernel_id in self.kernel_manager.list_kernel_ids():
            kernel = self.kernel_manager.get_kernel(kernel_id)
            if kernel.has_kernel and not await ensure_async(kernel.is_alive()):
                await end(self.kernel_manager, kernel_id)

    def init_handlers(self) -> list:
        """Return Voilà's request handlers, with another one for the end of a page."""
        path = url_path_join(self.server_url, r"/voila/api/shutdown/([^/]+)")
        return [(path, ShutdownHandler), *super().init_handlers()]
