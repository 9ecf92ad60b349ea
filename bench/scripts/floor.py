"""The least that a plan in Python can cost: read and parse every spec with the C parser, stat every data file."""

import os
import sys

import yaml

for folder in sys.argv[1:]:
    for name in sorted(os.listdir(f"{folder}/specs")):  # noqa: PTH208 - strings, for speed
        with open(f"{folder}/specs/{name}", "rb") as file:  # noqa: PTH123
            spec = yaml.load(file, Loader=yaml.CSafeLoader)["model_spec"]
        os.stat(f"{folder}/data/{spec['name']}.csv")  # noqa: PTH116
