"""The kernel of a stage, which never outlives its runner: when the runner dies, by whatever signal, so do the kernel and its worker
processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager

KEPT = "Finished stages are kept; the same command continues."

# Waits for the runner's end on a pipe that closes even under SIGKILL, then ends the kernel's process group, worker processes included, and
# removes the runner's temporary folder. "done" on the pipe means that the kernel has already been shut down.
_REAPER = """
import os, shutil, signal, sys
if sys.stdin.read() != "done":
    try:
        os.killpg(int(sys.argv[1]), signal.SIGKILL)
    except ProcessLookupError:
        pass
    shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


class GuardedKernelManager(AsyncKernelManager):
    """A kernel on local sockets, where it can, whose process group ends with the runner."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._reaper: subprocess.Popen | None = None
        address = str(Path(os.environ["JUPYTER_RUNTIME_DIR"]) / "kernel")  # sockets of a killed run vanish with this folder
        if os.name == "posix" and len(os.fsencode(address)) < 100:  # a socket's path may have 103 characters; TCP where TMPDIR is longer
            self.transport, self.ip = "ipc", address

    async def _async_post_start_kernel(self, **kwargs):
        await super()._async_post_start_kernel(**kwargs)
        if os.name == "posix":
            # `-S -E`: no site-packages, so that the guard stands before the first cell runs.
            self._reaper = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _REAPER, str(self.provisioner.pgid), os.environ["JUPYTER_RUNTIME_DIR"]],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            # nbclient's own handlers shut the kernel down politely and then wait for its reply, for ever where the machine is busy.
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, end_by_signal, number)

    post_start_kernel = _async_post_start_kernel

    async def _async_launch_kernel(self, kernel_cmd, **kwargs):
        # What cells print comes as messages. On its own stderr a kernel only talks about itself, most of it while it is being shut down.
        with kernel_log().open("ab") as log:
            await super()._async_launch_kernel(kernel_cmd, **{**kwargs, "stderr": log})

    _launch_kernel = _async_launch_kernel

    async def _async_interrupt_kernel(self) -> None:
        # Every shutdown begins with an interrupt, which can swallow the request that follows it and then costs three seconds of waiting.
        if not self.shutting_down:
            await super()._async_interrupt_kernel()

    interrupt_kernel = _async_interrupt_kernel

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart)
        if self._reaper is not None:
            self._reaper.communicate("done")
            self._reaper = None

    cleanup_resources = _async_cleanup_resources


def end_by_signal(number: int) -> None:
    """End at once. The guard sees its pipe close and ends the kernel with its worker processes."""
    print(f"Interrupted. {KEPT}", file=sys.stderr, flush=True)
    shutil.rmtree(os.environ["JUPYTER_RUNTIME_DIR"], ignore_errors=True)
    os._exit(128 + number)


def kernel_log() -> Path:
    """What the kernel process wrote about itself: shown only when it died."""
    return Path(os.environ["JUPYTER_RUNTIME_DIR"]) / "kernel.log"
