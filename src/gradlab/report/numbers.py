"""Numbers as a person writes them: 3.2·10⁻¹², (3.21 ± 0.04)·10⁻¹², two digits of an error at most."""

from __future__ import annotations

import math
from typing import Any

_SUPERSCRIPTS = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_DECIMALS = 6  # of a mantissa; beyond, number and error are written apart


def plain(value: float | None, digits: int = 3) -> str:
    """A number to `digits` significant digits, trailing zeros dropped; None and NaN are a dash."""
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0.0:
        return "0"
    if float(value).is_integer() and abs(value) < 1e6:
        return _signed(f"{value:.0f}")
    mantissa, exponent = _scientific(value, digits)
    if -3 <= exponent < 5:
        return _signed(_trimmed(f"{value:.{max(digits - 1 - exponent, 0)}f}"))
    mantissa = _trimmed(mantissa)
    power = f"10{superscript(exponent)}"
    return _signed({"1": power, "-1": f"-{power}"}.get(mantissa, f"{mantissa}·{power}"))


def measured(number: float | None, error: float | None, resolution: float = 0.0) -> str:
    """A number with its error, to the error's last digit; without an error, down to `resolution`.

    Two digits of an error that begins with 1, one of any other.
    """
    if number is None or math.isnan(number):
        return "no finite number"
    if error is None or math.isnan(error) or math.isinf(error):
        return f"{plain(number)} ± ?"
    if math.isinf(number):
        return plain(number)
    if error == 0.0:
        return plain(number, _digits_down_to(number, resolution))
    leading, exponent = _scientific(error, 2)
    place = exponent - (1 if abs(float(leading)) < 1.95 else 0)
    greatest = max(_exponent(number), exponent)
    everyday = -3 <= greatest < 5
    if (-place if everyday else greatest - place) > _MOST_DECIMALS:
        return f"{plain(number, 7)} ± {plain(error, 1)}"
    if everyday:
        decimals = max(-place, 0)
        return _signed(f"{number:.{decimals}f} ± {error:.{decimals}f}")
    decimals, scale = greatest - place, 10.0**greatest
    if scale == 0.0 or math.isinf(scale):
        return f"{plain(number)} ± {plain(error, 2)}"
    inside = _signed(f"{number / scale:.{decimals}f} ± {error / scale:.{decimals}f}")
    return f"({inside})·10{superscript(greatest)}"


def required(relation: str, tolerance: float, target: float = 0.0) -> str:
    """The relation a number has to satisfy: ``≤ 10⁻⁹``, ``≥ 0.9``, ``= 1 ± 0.02``."""
    if relation == "==":
        return f"= {plain(target, 6)} ± {plain(tolerance)}"
    sign = {"<=": "≤", ">=": "≥"}.get(relation, relation)
    return f"{sign} {plain(tolerance)}"


def seconds(value: float | None) -> str:
    """A duration: 0.84 s, 18 s, 3 min 20 s."""
    if value is None or not math.isfinite(value):
        return "—"
    if value < 60.0:
        return f"{value:.2f} s" if value < 1.0 else f"{value:.1f} s" if value < 10.0 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def superscript(value: Any) -> str:
    """An integer in superscript digits."""
    return str(value).translate(_SUPERSCRIPTS)


def _scientific(value: float, digits: int) -> tuple[str, int]:
    mantissa, exponent = f"{value:.{max(digits - 1, 0)}e}".split("e")
    return mantissa, int(exponent)


def _exponent(value: float) -> int:
    return _scientific(value, 1)[1] if value else -400


def _digits_down_to(number: float, resolution: float) -> int:
    if resolution <= 0.0 or number == 0.0 or not math.isfinite(resolution):
        return 3
    return min(max(3, _exponent(number) - _exponent(resolution) + 2), 12)


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _signed(text: str) -> str:
    return text.replace("-", "−")
