"""Run in the environment that has only the wheel: what did it drop, and where?"""

from importlib.metadata import files

dropped = {str(f).split("/")[0] for f in files("p2pdrl") or [] if ".." not in str(f)}
names = {name for name in dropped if not name.endswith(".dist-info")}
assert names == {"p2p"}, f"the wheel must install p2p alone, it installs {sorted(names)}"
