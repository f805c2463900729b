"""Run one notebook of the study under papermill: `python src/run_notebook.py SOURCE.py OUT.ipynb [-o OVERRIDE]... [-p NAME=VALUE]...`.

What DVC calls for every stage. It executes the percent script (the hashed, reviewed source; a student's `.ipynb` twin is never read), shows
the kernel's output while cells run, and writes an executed copy with nothing in it that differs between equal runs: no times, no random
cell ids, no stderr. The commit that it ran from goes to data/logs. Parameters are strings; numbers get their type from Hydra. Nothing keeps
computing once whoever asked for it is gone: when DVC dies, so does this runner, and when this runner dies, by whatever signal, so do the
kernel and its worker processes.
"""

from __future__ import annotations

import os
import sys

# Extras that a run never uses and whose import costs seconds a notebook; the libraries that offer them do without: a JSON-schema format
# that builds 35 parsers, jupytext's servers for JupyterLab, papermill's Hadoop files.
for extra in ("rfc3987_syntax", "jupytext.sync_contentsmanager", "jupytext.async_contentsmanager", "pyarrow.fs"):
    sys.modules[extra] = None  # type: ignore[assignment]

import argparse
import ast
import contextlib
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path

try:
    import jupytext
    import nbformat
    import papermill
    import psutil
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from loupe.checkout import commit_that_runs  # of this checkout: Python looks beside this file first
    from loupe.errors import LoupeError
    from loupe.kernel import KEPT, GuardedKernelManager, kernel_log
    from loupe.reporting import provenance
except ModuleNotFoundError as error:
    sys.exit(
        f"{error.name} is not installed for {sys.executable}: activate the study's environment "
        "(`. .venv/bin/activate`) or use `make study`."
    )

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run one notebook of the study and save an executed, repeatable copy.")
    parser.add_argument("source", type=Path, help="percent script, e.g. notebooks/01-data.py")
    parser.add_argument("output", type=Path, help="where the executed copy goes, e.g. reports/notebooks/01-data.ipynb")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="Hydra override, repeatable")
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="string parameter, repeatable")
    options = parser.parse_args(arguments)

    with environment():
        exit_with_dvc()
        notebook = read(options.source)
        parameters = checked_parameters(notebook, options)
        try:
            code = commit_that_runs(ROOT)
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.unlink(missing_ok=True)  # it may be a link into DVC's cache, and papermill would write through it
            papermill.execute_notebook(
                notebook,
                str(options.output),
                parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                cwd=str(ROOT),
                kernel_manager_class=GuardedKernelManager,
            )
        except LoupeError as refusal:
            print(refusal, file=sys.stderr)
            return 1
        except PapermillExecutionError as failure:
            sys.stdout.flush()
            print(told(failure, options), file=sys.stderr)
            return 1
        except DeadKernelError:
            sys.stderr.write(kernel_log().read_text(errors="replace"))
            print(f"{options.source}: the kernel was killed, most likely for want of memory: close other programs. {KEPT}", file=sys.stderr)
            return 1
        except RuntimeError as failure:  # what nbclient raises for a kernel that never answered
            sys.stderr.write(kernel_log().read_text(errors="replace"))
            print(f"{options.source}: the kernel does not answer ({failure}). {KEPT}", file=sys.stderr)
            return 1
        except OSError as failure:
            print(f"{options.output} cannot be written ({failure}): mend that and start again. {KEPT}", file=sys.stderr)
            return 1
        normalise(options.output, options.source.parent)
        provenance.note(ROOT, options.source.stem.split("-", 1)[-1], *code)
    return 0


@contextlib.contextmanager
def environment():
    """What the kernel inherits: this checkout's package, this interpreter's kernel, no settings of the user's own Jupyter or IPython."""
    runtime = tempfile.mkdtemp(prefix="loupe-")
    for name in ("JUPYTER_PATH", "MPLBACKEND", "MATPLOTLIBRC", "PYTHONOPTIMIZE", "PYTHONIOENCODING"):
        os.environ.pop(name, None)
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    os.environ.update(
        JUPYTER_PREFER_ENV_PATH="1",
        JUPYTER_RUNTIME_DIR=runtime,
        IPYTHONDIR=str(Path(runtime) / "ipython"),
        PYTHONHASHSEED="0",
        PYTHONUNBUFFERED="1",
        PYTHONUTF8="1",
        PYTHONPATH=os.pathsep.join([str(ROOT / "src"), *others]),
        LOUPE_BATCH="1",
    )
    try:
        yield
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


def exit_with_dvc() -> None:
    """End this process when DVC, or anything between DVC and this process, or the command that started DVC (`LOUPE_OWNER`) has gone.

    Without it a killed `dvc repro` leaves its stage training, and the next `dvc repro` starts a second one beside it. Started by hand,
    without DVC, there is nothing to watch.
    """
    watched: list[psutil.Process] = []
    if "DVC_STAGE" in os.environ:
        for ancestor in psutil.Process().parents():
            watched.append(ancestor)
            with contextlib.suppress(psutil.Error):
                if any(Path(word).name in ("dvc", "dvc.exe") for word in ancestor.cmdline()):
                    break
        else:
            watched = watched[:1]
    if "LOUPE_OWNER" in os.environ:
        try:
            watched.append(psutil.Process(int(os.environ["LOUPE_OWNER"])))
        except psutil.NoSuchProcess:
            sys.exit("The study that started this stage has been ended.")
    if not watched:
        return

    def watch() -> None:
        while all(alive(process) for process in watched):
            time.sleep(0.5)
        os._exit(1)  # the guard of the kernel sees its pipe close

    threading.Thread(target=watch, name="watch-dvc", daemon=True).start()


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def read(source: Path) -> nbformat.NotebookNode:
    """The percent script as papermill wants a notebook."""
    if not source.is_file():
        sys.exit(f"{source} does not exist: name a percent script such as notebooks/01-data.py.")
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["papermill"] = {}
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
        if cell.cell_type == "code":
            cell.metadata["papermill"] = {}
    return notebook


def checked_parameters(notebook: nbformat.NotebookNode, options: argparse.Namespace) -> dict[str, object]:
    """`-o` and `-p` as papermill parameters; a name that the parameters cell does not define is an error (papermill only warns)."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.tags]
    known = {
        target.id
        for cell in cells
        for statement in ast.parse(cell.source).body
        for target in (statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)])
        if isinstance(target, ast.Name)
    }
    parameters: dict[str, object] = {"overrides": list(options.overrides)} if options.overrides else {}
    for item in options.parameters:
        name, equals, value = item.partition("=")
        if not equals:
            sys.exit(f"-p {item}: write it as NAME=VALUE.")
        parameters[name] = value
    for name in parameters:
        if name not in known:
            names = ", ".join(sorted(known)) or "none at all"
            sys.exit(f"{options.source} has no parameter called {name}: its parameters cell defines {names}.")
    return parameters


def told(failure: PapermillExecutionError, options: argparse.Namespace) -> str:
    """One sentence for what a user can mend, the whole traceback for a fault of ours; the executed copy keeps it in either case."""
    message = str(failure.evalue).strip()
    where = f"(cell {failure.cell_index + 1} of {options.source}; the full report is in {options.output})"
    if failure.ename == "LoupeError":
        return f"LoupeError: {message} {where}"
    if failure.ename == "OSError" and "No space left on device" in message:
        return f"No space left: {message}. Free some disk space and start again. {KEPT} {where}"
    traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(failure.traceback))
    return f"{traceback}\n{failure.ename} {where}"


def normalise(path: Path, source: Path) -> None:
    """Strip from an executed copy whatever differs between two equal runs, and let its pictures be those beside its `source` folder's
    scripts."""
    notebook = nbformat.read(path, as_version=4)
    pictures = Path(os.path.relpath(source / "pictures", path.parent)).as_posix()
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    )
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index + 1:03d}"
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.get("tags", [])})
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](pictures/", f"]({pictures}/")
        if cell.cell_type == "code":
            cell.outputs = joined([output for output in cell.outputs if output.get("name") != "stderr"])
    partial = path.with_suffix(".partial")
    partial.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    partial.replace(path)


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Merge neighbouring pieces of printed text: where the kernel cuts them is a matter of timing."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == "stream" and merged[-1].output_type == "stream" and merged[-1].name == output.name:
            merged[-1]["text"] += output.text
        else:
            merged.append(output)
    return merged


if __name__ == "__main__":
    sys.exit(main())
