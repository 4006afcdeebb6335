"""All properties."""

from tb.formal import elements, sums

__all__ = ["FAMILIES", "PROPERTIES"]

#: Properties by family; what each is about.
FAMILIES = {
    "elements": "elements multiply and add",
    "sums":     "nothing overflows",
}

PROPERTIES = [*elements.PROPERTIES, *sums.PROPERTIES]
