"""Records as versions before wrote them."""

import json

from peftbench.store.seal import sealed


def without_files(path):
    """Rewrite a record's file as schema version 2 had it: it does not know the SHA-256 of its scores and adapter."""
    table = json.loads(path.read_text())
    table = {name: value for name, value in table.items() if name not in ("digest", "files")}
    path.write_text(sealed(json.dumps(table | {"schema_version": 2}, indent=2)))
