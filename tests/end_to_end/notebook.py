"""Run cells in a kernel, as a notebook server does."""

from __future__ import annotations

import json
from pathlib import Path

from tests.end_to_end.harness import Place
from tests.end_to_end.processes import PATIENCE_S


def run_cells(place: Place, folder: Path, *cells: str, **environ: str) -> None:
    """Run cells in a kernel of a place's environment; `folder` is where the kernel is described."""
    from jupyter_client.kernelspec import KernelSpecManager  # not in the environments of older releases
    from jupyter_client.manager import KernelManager

    command = [place.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "tests").mkdir()
    (folder / "tests" / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "tests"}))
    manager = KernelManager(kernel_name="tests", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder)]))
    manager.start_kernel(env=place.environment(**environ), cwd=place.folder)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        for cell in cells:
            client.execute_interactive(cell, timeout=PATIENCE_S, output_hook=lambda message: None)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
