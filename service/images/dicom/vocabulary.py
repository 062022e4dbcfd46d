"""Words by which files name a body part and a view: DICOM's own terms, and those of the languages that archives are set to.
Sources: DICOM PS3.16, Annex L (body parts) and PS3.3, C.8.1.2 and C.8.11.5 (views); the other words are those of everyday
radiology in the language. A word counts with any accents, in any case, and at the beginning of a longer one."""

import contextlib
import unicodedata

CHEST = (
    "CHEST", "LUNG", "THORA", "TORAX", "TORAC", "TORAKS",  # English; Latin, and its heirs from Dutch to Indonesian
    "PECHO", "PULMON", "PULMAO", "PULMOE", "PEITO",  # Spanish, Portuguese
    "POUMON", "POITRINE", "POLMON", "BRUST", "LONG", "BORST",  # French, Italian, German, Dutch
    "KLATKA", "PLUC", "HRUDNI", "PLIC", "GOGUS", "AKCIGER",  # Polish, Czech, Turkish
    "MELLKAS", "TUDO", "RINTA", "KEUHKO", "BRYST",  # Hungarian, Finnish, Danish
    "ГРУД", "ЛЕГК", "胸", "肺", "흉부", "폐",  # Russian; Chinese and Japanese; Korean
)  # fmt: skip
FRONTAL = ("AP", "PA", "FRONTAL", "ANTEROPOSTERIOR", "POSTEROANTERIOR", "FACE", "FRENTE")
UNKNOWN = {"", "UNKNOWN", "UNK", "UNSPECIFIED", "UNDEFINED", "NOT SPECIFIED", "OTHER", "NONE", "NA", "N A", "DEFAULT"}


def plain(value: str) -> str:
    """In capitals, without accents, and with one space in place of all that is neither a letter nor a digit."""
    with contextlib.suppress(UnicodeError):  # the file's character set is not read; most are one of these two
        value = value.encode("latin-1").decode("utf-8")
    letters = (letter for letter in unicodedata.normalize("NFKD", value) if not unicodedata.combining(letter))
    composed = unicodedata.normalize("NFKC", "".join(letters)).upper()
    return " ".join("".join(letter if letter.isalnum() else " " for letter in composed).split())


def is_chest(body_part: str) -> bool:
    """Also where nothing is known."""
    return (part := plain(body_part)) in UNKNOWN or any(word.startswith(CHEST) for word in part.split())


def is_frontal(view: str) -> bool:
    """Also where nothing is known."""
    words = (name := plain(view)).split()
    joined = {"".join(words[at : at + 2]) for at in range(len(words))}  # «P.A.», «postero-anterior»
    return name in UNKNOWN or not {*words, *joined}.isdisjoint(FRONTAL)
