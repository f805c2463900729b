"""The data sets that `loupe data import` knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loupe.data.sources import (
    affectnet,
    affwild2,
    casia_webface,
    casme2,
    casme3,
    celeba,
    fer2013,
    films,
    folder,
    imdb_wiki,
    megc2019,
    rafdb,
    samm,
    smic,
)
from loupe.data.sources.listing import Listing
from loupe.errors import LoupeError


@dataclass(frozen=True)
class Source:
    """title: for people; use: what the papers use it for; read: root of the official download -> Listing; those of
    your own faces take `classes`, too."""

    title: str
    use: str
    read: Callable[..., Listing]


SOURCES = {
    "casme2": Source("CASME II", "micro-expressions", casme2.read),
    "samm": Source("SAMM", "micro-expressions", samm.read),
    "smic-hs": Source("SMIC HS", "micro-expressions", smic.read_hs),
    "smic-vis": Source("SMIC VIS", "micro-expressions", smic.read_vis),
    "smic-nir": Source("SMIC NIR", "micro-expressions", smic.read_nir),
    "casme3a": Source("CAS(ME)3 part A", "micro-expressions", casme3.read_a),
    "casme3c": Source("CAS(ME)3 part C", "micro-expressions", casme3.read_c),
    "megc2019": Source("MEGC2019 composite", "micro-expressions", megc2019.read),
    "affwild2": Source("Aff-Wild2 EXPR", "expressions", affwild2.read),
    "affectnet": Source("AffectNet", "pre-training, expressions", affectnet.read),
    "rafdb": Source("RAF-DB", "expressions", rafdb.read),
    "fer2013": Source("FER2013", "expressions", fer2013.read),
    "ferplus": Source("FER+", "expressions", fer2013.read_plus),
    "celeba": Source("CelebA", "pre-training", celeba.read),
    "imdb-wiki": Source("IMDB-WIKI", "pre-training", imdb_wiki.read),
    "casia-webface": Source("CASIA-WebFace", "pre-training", casia_webface.read),
    "folder": Source("pictures by class", "your own", folder.read_classes),
    "csv": Source("faces.csv", "your own", folder.read_csv),
    "video": Source("folder of videos", "your own", films.read),
}


def source(name: str) -> Source:
    """The source of that name; raises LoupeError listing all names for another one."""
    if name not in SOURCES:
        raise LoupeError(f"There is no data set {name!r}: choose {', '.join(SOURCES)}.")
    return SOURCES[name]
