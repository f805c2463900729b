"""Which package may import which (design, The house): each from below alone, at the top of a module and inside its functions alike."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "loupe"
LAYERS = [{"models", "faces"}, {"data"}, {"evaluation"}, {"training"}, {"reporting"}, {"commands"}]
RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
# What everybody may use: it decides no number and imports no layer.
GROUND = {
    "_compat",
    "checkout",
    "code",
    "config",
    "errors",
    "experiments",
    "lock",
    "machine",
    "part",
    "progress",
    "recording",
    "settings",
    "steps",
}
TOP = {"cli", "doctor", "kernel", "pretrain", "session", "study"}  # glue over the layers
STUDY = {"study": {"reporting", "commands"}, "doctor": {"commands"}}  # and who may import it from below


def imports(path):
    """Packages of loupe that a module imports anywhere, by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))]  # never run
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: loupe.code follows absolute imports alone"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("loupe."))


def packages():
    return sorted({path.stem if path.is_file() else path.name for path in SOURCE.glob("[!_]*") if path.is_dir() or path.suffix == ".py"})


@pytest.mark.parametrize("package", packages())
def test_a_package_imports_from_below_alone(package):
    files = [SOURCE / f"{package}.py"] if (SOURCE / f"{package}.py").exists() else sorted((SOURCE / package).rglob("*.py"))
    for path in files:
        used = set(imports(path)) - {package, "__version__", "SHAPING"} - GROUND
        if package in RANK:
            wrong = {other for other in used if RANK.get(other, 9) >= RANK[package] and package not in STUDY.get(other, set())}
        elif package in GROUND:
            wrong = used
        else:
            assert package in TOP, f"{package} has no layer: give it one here and in the README"
            wrong = used & {"commands"} if package != "cli" else set()
        assert not wrong, f"{path.relative_to(SOURCE)} imports {', '.join(sorted(wrong))}"
