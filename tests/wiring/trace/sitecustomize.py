"""Loaded by every Python process of a traced study: notes which setting each stage reads (see tests/wiring/test_study.py).

`LOUPE_TRACE` names a folder; one file per stage lists `Class.field` for each field of a settings dataclass that code outside config.py reads.
"""

import os
import sys

stage, folder = os.environ.get("DVC_STAGE"), os.environ.get("LOUPE_TRACE")
if stage and folder and os.environ.get("LOUPE_BATCH") == "1":
    import dataclasses

    from loupe import config

    noted = set()

    def note(owner: str, name: str) -> None:
        if (owner, name) not in noted:
            noted.add((owner, name))
            with open(os.path.join(folder, stage), "a", encoding="utf-8") as file:
                file.write(f"{owner}.{name}\n")

    def traced(kind: type) -> None:
        fields = {field.name for field in dataclasses.fields(kind)}
        plain = kind.__getattribute__

        def read(self, name):
            # Checking, hashing and pickling read every field; that is no use of it.
            if name in fields and sys._getframe(1).f_code.co_filename not in (config.__file__, dataclasses.__file__):
                note(kind.__name__, name)
            return plain(self, name)

        kind.__getattribute__ = read

    for found in list(vars(config).values()):
        if isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == "loupe.config":
            traced(found)
