"""Price files made by hand for the tests."""

HAIKU = {
    "name": "haiku",
    "for": ["icl", "zero-shot"],
    "source": "https://example.org/prices",
    "as_of": "2026-10-14",
    "input": 1.00,
    "output": 5.00,
    "cached_input": 0.10,
    "cache_write": 1.25,
    "cache_min_tokens": 4096,
}
MINI = HAIKU | {
    "name": "mini",
    "input": 0.40,
    "output": 1.60,
    "cached_input": 0.10,
    "cache_min_tokens": 1024,
    "cache_step": 128,
}
del MINI["cache_write"]
H100 = {
    "name": "one H100",
    "source": "https://example.org/gpus",
    "as_of": "2026-05-07",
    "per_hour": 2.86,
    "sustained_flops": 3e14,
}
ON_H100 = {"on": "one H100"}
API = {"name": "api", "source": "https://example.org", "as_of": "2026-10-01", "per_million_tokens": 0.46}
MONTH = {"queries_per_day": 100_000 / 3, "days": 30, "cache_hit_rate": 1.0}


def toml(model=(), hosting=(), training=(), workload=MONTH, currency="USD"):
    """Write a price file."""
    lines = [f'currency = "{currency}"']
    for kind, tables in (("model", model), ("hosting", hosting), ("training", training)):
        for table in tables:
            lines += [f"[[{kind}]]", *(f"{name} = {_value(name, value)}" for name, value in table.items())]
    lines += ["[workload]", *(f"{name} = {value!r}" for name, value in workload.items())]
    return "\n".join(lines) + "\n"


def _value(name, value):
    # A text of a date stands for the date itself.
    return value if name == "as_of" else str(value).replace("'", '"') if isinstance(value, list) else _scalar(value)


def _scalar(value):
    return f'"{value}"' if isinstance(value, str) else repr(value)
