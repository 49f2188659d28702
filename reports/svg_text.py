"""Makes a drawn SVG fit to live inside a page: colours become classes, styles become attributes, ids become its own.

A strict content security policy forbids style attributes, and dark mode needs colours that the page's own style sheet
decides. So nothing of the drawing's look is left in it but geometry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

ATTRIBUTES = frozenset(
    {
        "fill",
        "fill-opacity",
        "opacity",
        "stroke",
        "stroke-dasharray",
        "stroke-opacity",
        "stroke-width",
        "text-anchor",
        "font-size",
        "font-weight",
    }
)
MARK = "mark-"
GEOMETRY = frozenset({"d", "x", "y", "transform"})
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
URL = re.compile(r"url\(#([^)]+)\)")


def themed(svg: str, *, name: str, title: str, description: str, colours: Mapping[str, str]) -> str:
    """The drawing as an inline element: `colours` maps the hexadecimal colours it was drawn in to class stems.

    A fill in a known colour becomes the class `f-STEM`, a stroke `s-STEM`. Groups drawn with an id that starts with
    `mark-` keep it as their class. Raises ValueError for a colour nobody named.
    """
    root = ET.fromstring(svg)  # noqa: S314 - our own text, see above
    _drop_furniture(root)
    used = _referenced(root)
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        _rewrite(element, name=name, colours=colours, used=used)
    _share_what_marks_have_in_common(root)
    for number, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ET.Element(tag, {"id": f"{name}-{tag}"})
        child.text = text
        root.insert(number, child)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update(
        {"viewBox": box, "role": "img", "aria-labelledby": f"{name}-title {name}-desc", "class": "chart"}
    )
    return re.sub(r">\s+<", "><", ET.tostring(root, encoding="unicode"))


def _drop_furniture(root: ET.Element) -> None:
    """The style sheet and metadata that the drawing library adds."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.split("}")[-1] in ("style", "metadata"):
                parent.remove(child)


def _referenced(root: ET.Element) -> frozenset[str]:
    """Ids that a `use`, a clip path or a pattern points to."""
    found: set[str] = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            if key.split("}")[-1] == "href":
                found.add(value.removeprefix("#"))
            found.update(URL.findall(value))
    return frozenset(found)


def _rewrite(element: ET.Element, *, name: str, colours: Mapping[str, str], used: frozenset[str]) -> None:
    attributes = dict(element.attrib)
    element.attrib.clear()
    classes: list[str] = []
    identity = attributes.pop("id", "")
    if identity in used:
        element.set("id", f"{name}-{identity}")
    if identity.startswith(MARK):
        classes.append(identity)
    style = attributes.pop("style", "")
    for key, value in attributes.items():
        short = key.split("}")[-1]
        if short == "href":
            element.set(short, f"#{name}-{value.removeprefix('#')}")
        elif not value.startswith("rotate(-0 "):
            element.set(short, _rounded(value) if short in GEOMETRY else _own_reference(value, name))
    for prop, value in _declarations(style):
        if value.startswith("#"):
            classes.append(f"{prop[0]}-{colours[value]}" if value in colours else _unknown(value))
        elif prop in ATTRIBUTES:
            element.set(prop, _own_reference(value, name))
    if classes:
        element.set("class", " ".join(dict.fromkeys(classes)))


def _rounded(geometry: str) -> str:
    """A hundredth of a point is finer than any screen."""
    return " ".join(LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", geometry).split())


def _share_what_marks_have_in_common(root: ET.Element) -> None:
    """The look of a series of marks is told once, on their group, and inherited."""
    for group in root.iter("g"):
        marks = list(group)
        if len(marks) < 2 or any(mark.tag != "use" for mark in marks):
            continue
        for key in sorted(set(marks[0].attrib) - {"x", "y", "href"}):
            values = {mark.get(key, "") for mark in marks}
            if len(values) == 1 and key not in group.attrib:
                group.set(key, values.pop())
                for mark in marks:
                    del mark.attrib[key]


def _unknown(value: str) -> str:
    raise ValueError(f"the drawing uses {value}, which no theme colour stands for")


def _declarations(style: str) -> list[tuple[str, str]]:
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    return [(prop.strip(), value.strip()) for prop, value in pairs]


def _own_reference(value: str, name: str) -> str:
    return URL.sub(lambda match: f"url(#{name}-{match[1]})", value)
