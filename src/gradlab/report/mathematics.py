"""Formulas as MathML, and prose with formulas in it; what cannot be typeset is shown as it was written.

The converter copies what stands in a formula into its output unescaped, and silently passes over commands it
does not know. Hence every element of its output is looked at: only presentation elements and attributes
without addresses are let through, all text is escaped, and an unknown command is a refusal.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise
from xml.etree import ElementTree

from markupsafe import Markup, escape

_ELEMENTS = re.compile(
    "math|mrow|mi|mo|mn|mtext|mspace|mfrac|msqrt|mroot|msub|msup|msubsup|munder|mover|munderover"
    "|mtable|mtr|mtd|mstyle|mpadded|mphantom|menclose"
)
_ATTRIBUTES = re.compile(
    "display|stretchy|fence|form|accent|accentunder|linethickness|width|height|depth|lspace|rspace|separator"
    "|movablelimits|minsize|maxsize|symmetric|largeop|columnalign|displaystyle|scriptlevel|mathvariant"
)
_LIMITS = frozenset(["lim", "sup", "inf", "max", "min", "liminf", "limsup", "argmin", "argmax"])
_CONSTANTS = frozenset("∞⊤∅")
_CLOSE = frozenset("|‖∣∥/")
_RELATIONS = frozenset("⪰⪯≻≺≽≼")
_LETTER = re.compile(r"&#x000[4-7][0-9A-F];")  # how the converter writes a letter of \mathrm
_ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|gathered|split|equation\*?|gather\*?)\}")
_PIECES = re.compile(r"\$([^$]+)\$|`([^`]+)`")


class Untypeset(ValueError):
    """A formula that the converter does not understand."""


def block(latex: str) -> Markup:
    """A displayed formula: MathML, or the LaTeX source where it cannot be typeset."""
    try:
        return _mathml(latex, "block")
    except Untypeset:
        return Markup('<pre class="latex">{}</pre>').format(latex)


def prose(text: str) -> Markup:
    """Words with ``$formulas$`` and ```code```; everything else is escaped."""
    pieces, end = [], 0
    for found in _PIECES.finditer(text):
        pieces.append(escape(text[end : found.start()]))
        pieces.append(_inline(found[1]) if found[1] else Markup("<code>{}</code>").format(found[2]))
        end = found.end()
    return Markup("").join([*pieces, escape(text[end:])])


def superscripts(text: str) -> Markup:
    """A number's superscript digits as ``<sup>``, which every font draws alike."""
    ordinary = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789")
    safe = str(escape(text)).replace(" ", "\N{NO-BREAK SPACE}")
    return Markup(re.sub(r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda run: f"<sup>{run[0].translate(ordinary)}</sup>", safe))


def _inline(latex: str) -> Markup:
    try:
        return _mathml(latex, "inline")
    except Untypeset:
        return Markup("<code>{}</code>").format(latex)


def _mathml(latex: str, display: str) -> Markup:
    from latex2mathml.converter import convert_to_element

    if _depth(latex) != 0:
        raise Untypeset(latex)
    try:
        root = convert_to_element(_ALIGNED.sub(r"\\\1{align*}", latex), display=display)
    except Exception as error:  # the converter raises many kinds, IndexError and AttributeError among them
        raise Untypeset(latex) from error
    for parent in list(root.iter()):
        _upright(parent)
        _apart(parent)
    for element in root.iter():
        _checked(element, display)
    root.attrib.pop("xmlns", None)
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _upright(parent: ElementTree.Element) -> None:
    r"""Join the letters of ``\mathrm{tr}`` into one upright identifier."""
    run: ElementTree.Element | None = None
    for child in list(parent):
        roman = child.get("mathvariant") == "normal" or _LETTER.fullmatch(child.text or "")
        if child.tag != "mi" or not roman:
            run = None
            continue
        letter = html.unescape(child.text or "")
        if run is None:
            run, child.text = child, letter
            child.set("mathvariant", "normal")
        else:
            run.text = f"{run.text}{letter}"
            run.attrib.pop("mathvariant", None)
            parent.remove(child)


def _apart(parent: ElementTree.Element) -> None:
    """Space as in print: ŵ log t, not ŵlogt; and the sign after a relation belongs to what follows."""
    if parent.tag not in ("mrow", "math", "mtd", "mstyle"):
        return
    for left, right in pairwise(list(parent)):
        if right.tag == "mo" and _sign(right) in "−+±∓" and left.tag == "mo" and _sign(left) not in ")]}⟩‖|!":
            right.set("form", "prefix")
        function = _function(left), _function(right)
        plain = [one for one in (left, right) if one.tag not in ("mo", "mspace", "mtext")]
        if any(function) and len(plain) == 2:
            space = ElementTree.Element("mspace", width="0.167em")
            parent.insert(list(parent).index(right), space)


def _sign(element: ElementTree.Element) -> str:
    return html.unescape(element.text or "")


def _function(element: ElementTree.Element) -> bool:
    """Whether this is log, max, rank … with or without a limit; one written as operator is made a name."""
    inner = element[0] if element.tag in ("msub", "msup", "msubsup", "munder") and len(element) else element
    word = _sign(inner)
    if inner.tag not in ("mi", "mo") or len(word) < 2 or not word.isalpha():
        return False
    inner.tag = "mi"
    return True


def _depth(latex: str) -> int:
    """Braces left open; −1 as soon as one closes that was not opened."""
    depth = 0
    for brace in re.findall(r"\\.|[{}]", latex):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return -1
    return depth


def _checked(element: ElementTree.Element, display: str) -> None:
    """Let a presentation element through, with its text unescaped and its operators spaced as in print."""
    tag, text = element.tag, html.unescape(element.text or "")
    if not _ELEMENTS.fullmatch(tag) or text.startswith("\\") or (tag == "mi" and text == "&"):
        raise Untypeset(f"{tag} {text}")
    element.text = text or None
    for name in [name for name in element.attrib if not _ATTRIBUTES.fullmatch(name)]:
        del element.attrib[name]
    if tag == "mo" and text in _CONSTANTS:
        element.tag = "mi"
    elif tag == "mo" and text in _CLOSE and element.get("form") is None:
        element.attrib.update(lspace="0", rspace="0", stretchy="false")
    elif text in _RELATIONS:
        element.tag = "mo"
        element.attrib.update(lspace="0.278em", rspace="0.278em")
    if tag == "mover" and len(element) == 2 and element[1].tag == "mo":
        element.set("accent", "true")
        if len(element[0].text or "") == 1:
            element[1].set("stretchy", "false")
    if tag in ("msub", "msup", "msubsup", "munder", "munderover"):
        for operator in (inner for script in list(element)[1:] for inner in script.iter("mo")):
            operator.attrib.update(lspace="0", rspace="0")
    first = element[0] if len(element) else None
    if tag == "msub" and display == "block" and first is not None and first.text in _LIMITS:
        element.tag = "munder"
