"""Loaded by every Python process of a traced study: notes which setting each stage reads (see tests/wiring/test_study.py).

`LOUPE_TRACE` names a folder; one file per stage lists `Class.field` for each field of a settings dataclass that the study's own code reads.
"""

import os
import sys

stage, folder = os.environ.get("DVC_STAGE"), os.environ.get("LOUPE_TRACE")
if stage and folder and os.environ.get("LOUPE_BATCH") == "1":
    import dataclasses

    from loupe import settings

    open(os.path.join(folder, stage), "a").close()  # a stage that reads none leaves an empty list
    noted = set()
    # Checking, hashing and pickling read every field, and a session sets threads and logs the device: no use that shapes a result.
    package = os.path.dirname(settings.__file__)
    plumbing = (dataclasses.__file__, *(os.path.join(package, name) for name in ("config.py", "session.py", "settings.py")))

    def note(owner: str, name: str) -> None:
        if (owner, name) not in noted:
            noted.add((owner, name))
            with open(os.path.join(folder, stage), "a", encoding="utf-8") as file:
                file.write(f"{owner}.{name}\n")

    def traced(kind: type) -> None:
        fields = {field.name for field in dataclasses.fields(kind)}
        plain = kind.__getattribute__

        def read(self, name):
            if name in fields and sys._getframe(1).f_code.co_filename not in plumbing:
                note(kind.__name__, name)
            return plain(self, name)

        kind.__getattribute__ = read

    for found in list(vars(settings).values()):
        if isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == "loupe.settings":
            traced(found)
