"""The environment of a release as a CycloneDX 1.6 bill of materials, by cyclonedx-python-lib.

The release is the subject, a machine-learning model; its components are Python and every installed distribution in the
recorded version. Licences are those that the distributions installed here state, if of the recorded version.
"""

from __future__ import annotations

import importlib.metadata
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engine.errors import NotSupportedError

_LONGEST_LICENSE = 100


def sbom(record: Mapping[str, Any]) -> str:
    """The bill of a release's record as JSON; the same record and installation give the same text.

    Raises NotSupportedError without the library.
    """
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6
        from packageurl import PackageURL
    except ImportError:
        raise NotSupportedError(
            "a bill of materials needs a package that is not installed", remedy="Install it: pip install 'engine[sbom]'"
        ) from None
    release, environment = record["release"], record["environment"]
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, str(release["key"])))
    bom.metadata.timestamp = datetime.fromisoformat(str(release["created_at"]).replace("Z", "+00:00"))
    name = f"{release['model']}@{release['version']}"
    bom.metadata.component = Component(
        name=release["model"], version=str(release["version"]), type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=name
    )
    stated = _licenses()
    for distribution, version in environment["packages"].items():
        if distribution == "python":
            found = Component(
                name="python",
                version=str(environment["python"] or version),
                type=ComponentType.PLATFORM,
                bom_ref="python",
            )
        else:
            found = Component(
                name=distribution,
                version=str(version),
                type=ComponentType.LIBRARY,
                bom_ref=f"{distribution}@{version}",
                purl=PackageURL("pypi", None, distribution, str(version)),
                licenses=_license(stated.get((distribution, str(version)))),
            )
        bom.components.add(found)
    bom.register_dependency(bom.metadata.component, list(bom.components))
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _licenses() -> dict[tuple[str, str], tuple[str, bool]]:
    """(distribution, version) → what it states, and whether that is an SPDX expression."""
    found: dict[tuple[str, str], tuple[str, bool]] = {}
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata
        name = re.sub(r"[-_.]+", "-", str(metadata["Name"])).lower()
        expression, text = metadata["License-Expression"], metadata["License"]
        if expression:
            found[name, distribution.version] = (str(expression), True)
        elif text and len(text) <= _LONGEST_LICENSE:
            found[name, distribution.version] = (" ".join(str(text).split()), False)
    return found


def _license(stated: tuple[str, bool] | None) -> list[Any]:
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression

    if stated is None:
        return []
    text, spdx = stated
    return [LicenseExpression(text) if spdx else DisjunctiveLicense(name=text)]
