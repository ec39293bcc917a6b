"""The recipes for packages and images of this one agree with pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from autoinstrument import __version__
from tests.startup.environment import ROOT

DEPLOY = ROOT / "deploy"
RECIPE = DEPLOY / "conda" / "recipe.yaml"


def test_the_conda_package_requires_the_same_as_the_wheel() -> None:
    recipe = yaml.safe_load(RECIPE.read_text("utf-8"))
    assert recipe["context"]["version"] == __version__
    wheel = {line for line in metadata.requires("autoinstrument") or () if "extra ==" not in line}
    conda = {line.replace(" ", "") for line in recipe["requirements"]["run"] if not line.startswith("python ")}
    assert {_sorted(line) for line in conda} == {_sorted(line) for line in wheel}


def test_the_conda_recipe_can_be_read() -> None:
    rattler = pytest.importorskip("rattler_build", reason="py-rattler-build is not installed")
    (variant,) = rattler.Stage0Recipe.from_file(RECIPE).render(rattler.VariantConfig())
    assert variant.recipe.package.version == __version__


@pytest.mark.parametrize("dockerfile", sorted((DEPLOY / "docker").iterdir()), ids=lambda file: file.name)
def test_hadolint_accepts_a_dockerfile(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint has no binary for this platform")
    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def _sorted(requirement: str) -> tuple[str, ...]:
    """Return a requirement as its name and its bounds in an order of their own: tools write them differently."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return name[0], *sorted(requirement[name.end() :].split(","))
