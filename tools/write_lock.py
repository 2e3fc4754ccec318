"""Write requirements.lock from the packages of the running environment (`make lock`).

`pip freeze` would also list what happens to be installed beside them, and the GPU libraries that
PyTorch asks for on Linux only.
"""

import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.notebooks import ROOT

LEFT_OUT = ("bench", "backbones")  # peers of `make bench`; networks for the full run of 08
# PyTorch pins these itself, and other builds of it (macOS, CPU only) do without them.
LINUX_GPU = re.compile(r"nvidia-.*|cuda-.*|triton")

HEADER = """\
# Exact versions of everything that softmi[book,test] needs, made by `make lock`.
# Left out on purpose: the nvidia-*, cuda-* and triton packages. PyTorch's Linux build asks for its
# own exact ones; PyTorch for macOS or for the CPU alone needs none, and this file fits them too.
"""


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """Name and installed version of the requirements and, in turn, of what they require."""
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(needed, extra) for needed in requirements for extra in ("", *needed.extras)]
    while queue:
        requirement, extra = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen or LINUX_GPU.fullmatch(name):
            continue
        seen.add((name, extra))
        distribution = metadata.distribution(name)
        pins[name] = distribution.version.partition("+")[0]  # not a local build, such as +cpu
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                queue += [(needed, e) for e in ("", *needed.extras)]
    return pins


def project_requirements() -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that `make test` and `make book` need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items()
              if name not in LEFT_OUT]  # fmt: skip
    return [Requirement(line) for line in sum(extras, start=project["dependencies"])]


if __name__ == "__main__":
    pins = sorted(closure(project_requirements()).items())
    lines = [f"{name}=={version}\n" for name, version in pins]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages")
