"""All properties."""

from tb.formal import division, elements, groups, queues, registers, streams, sums

__all__ = ["FAMILIES", "PROPERTIES"]

#: Properties by family; what each is about.
FAMILIES = {
    "elements":  "elements multiply and add",
    "sums":      "nothing overflows",
    "streams":   "nothing is lost, doubled or out of order",
    "registers": "AXI4-Lite and counters",
    "dividers":  "sums of softmax, and every divider",
}

PROPERTIES = [*elements.PROPERTIES, *sums.PROPERTIES, *queues.PROPERTIES,
              *groups.PROPERTIES, *streams.PROPERTIES, *registers.PROPERTIES,
              *division.PROPERTIES]
