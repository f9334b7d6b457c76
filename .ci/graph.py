"""What depends on what, as cargo resolves it for the targets of deny.toml."""
import json
import pathlib
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = tomllib.loads((ROOT / "deny.toml").read_text())


class Graph:
    """The crates that are used with these options of cargo, by their ids; with those of tests and builds."""

    def __init__(self, *options):
        targets = [f"--filter-platform={target}" for target in RULES["graph"]["targets"]]
        command = ["cargo", "metadata", "--locked", "--format-version=1", *targets, *options]
        metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        self.start = metadata["resolve"]["root"]
        self.edges = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
        self.crates = {crate["id"]: crate for crate in metadata["packages"] if crate["id"] in self.edges}

    def reached(self, kinds, passes=lambda crate: True):
        """Those that the project needs by dependencies of these kinds (None is the ordinary one), through such that pass."""
        found, todo = set(), [self.start]
        while todo:
            crate = todo.pop()
            if crate not in found and passes(self.crates[crate]):
                found.add(crate)
                todo += [edge["pkg"] for edge in self.edges[crate] if any(kind["kind"] in kinds for kind in edge["dep_kinds"])]
        return [self.crates[crate] for crate in found]
