"""MIG profiles by the share of the memory they have.

Source: NVIDIA's MIG user guide, "Supported MIG profiles". Of two profiles with the same memory the one with fewer
compute slices is listed: as many of it fit on a card as the share says (two of 3g, but only one of 4g).
"""

from __future__ import annotations

from fractions import Fraction

from tuner.domain.cluster import ClusterGpu
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.quantities import exact

_EIGHTH, _QUARTER, _HALF, _WHOLE = Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1)
_OF_80_GB = {_EIGHTH: "1g.10gb", _QUARTER: "2g.20gb", _HALF: "3g.40gb", _WHOLE: "7g.80gb"}
MIG_PROFILES: dict[str, dict[Fraction, str]] = {
    "A30": {_QUARTER: "1g.6gb", _HALF: "2g.12gb", _WHOLE: "4g.24gb"},
    "A100-40": {_EIGHTH: "1g.5gb", _QUARTER: "2g.10gb", _HALF: "3g.20gb", _WHOLE: "7g.40gb"},
    "A100-80": _OF_80_GB,
    "H100": _OF_80_GB,
    "H200": {_EIGHTH: "1g.18gb", _QUARTER: "2g.35gb", _HALF: "3g.71gb", _WHOLE: "7g.141gb"},
    "B200": {_EIGHTH: "1g.23gb", _QUARTER: "2g.45gb", _HALF: "3g.90gb", _WHOLE: "7g.180gb"},
}
"""By the names of the GPU catalogue; a study's own `slices` come first."""


def mig_profile(gpu: ClusterGpu, share: Fraction) -> str:
    """The profile with this share of the type's memory. Raises UsageError where there is none."""
    stated = {exact(part): profile for profile, part in gpu.slices}
    profiles = stated or MIG_PROFILES.get(gpu.name, {})
    if not profiles:
        raise UsageError(
            f"no MIG profiles are known for {gpu.name}", hint=f"write gpus.{gpu.name}.slices: {{PROFILE: SHARE}}"
        )
    if share not in profiles:
        known = ", ".join(f"{float(part):g} ({profile})" for part, profile in sorted(profiles.items()))
        raise UsageError(f"MIG cannot cut {float(share):g} of a {gpu.name}", hint=f"it cuts {known}")
    return profiles[share]
