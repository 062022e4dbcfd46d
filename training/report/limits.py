"""What is known of a model's data, and what limits the model's use. What the configuration does not tell is not known.

Nothing here is said of a model because it is true of `models/default`."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.model.artefact import Description
from training.report import metrics

SMALL = 512  # pixels; the longer side of a full-size radiograph has about 2,000
KERMANY = "10.17632/rscbjbr9sj"  # the DOI in `data.source`, of all versions: ablation and citation are of these data

LIMITS = (
    "The model knows two labels. It gives one of them to every image, even if neither is right.",
    "The heat-map shows where the evidence came from. It does not show where a lesion is.",
    "Novelty detects images that differ from the training images as a whole. It does not detect rare diseases.",
)


def find(description: Description) -> list[str]:
    """Those of every model, those that the data bring, and those that the configuration names as `data.limits`."""
    of_data, sizes = description.data.get("limits", []), description.data["sizes"]
    unknown = [sentence] if (sentence := nameless(description.data)) else []
    return [habits(description), *unknown, *LIMITS, *limits_elsewhere(description), *small_copies(sizes), *of_data]


def is_kermany(description: Description) -> bool:
    return KERMANY in description.data["source"]


def ages(description: Description) -> str:
    if not description.ages:
        return "The ages of the people are not known."
    return "The people are {:g} to {:g} years old.".format(*description.ages)


def nameless(data: Mapping[str, Any]) -> str:
    """What it means that file names told no patient, or empty. `data`: as `audit.summarise`."""
    if not (count := data["without_patient"]):
        return ""
    told = f"File names told no patient for {count:,} of {data['files']:,} images: each counts as a patient of its own."
    return f"{told} Images of one person may stand in several splits, and the figures may flatter the model."


def habits(description: Description) -> str:
    first = "A model that is trained on one data set learns the habits of that data set."
    if not is_kermany(description):
        return f"{first} Expect worse figures on images from elsewhere."
    return (
        f"{first} Published models that were trained on the Kermany chest X-rays (one hospital, children of one to five years) "
        "fell to an AUROC of 0.54 on children from elsewhere (Xin, Li, Yi, Emerg Radiol 2021, "
        "doi:10.1007/s10140-021-01954-x). Expect the same of this model."
    )


def limits_elsewhere(description: Description) -> list[str]:
    """What the figures of other hospitals say; without any, that nothing is known."""
    found = description.metrics.get("elsewhere")
    if not found:
        known = "The figures were measured on held-out parts of the same archive."
        return [f"{known} They say nothing about another archive, other ages or other devices."]
    return [describe_hospital(name, parts["all"], description) for name, parts in found.items()]


def describe_hospital(name: str, whole: Mapping[str, Any], description: Description) -> str:
    """`whole`: the figures of all its images, as in `report.elsewhere`."""
    images = sum(whole["images"].values())
    found = (
        f"an AUROC of {metrics.text(whole['auroc'])}" if whole["auroc"] else "no AUROC, because one label has too few images"
    )
    sentences = [f"On {images} images of {name} it had {found}."]
    if whole["specificity"]:
        wrong = 1 - whole["specificity"]["value"]
        sentences.append(f"It called {wrong:.0%} of the {negative(description)} images {description.positive}.")
    sentences.append(f"It called {whole['unusual'] / images:.0%} of them all unusual or foreign.")
    return " ".join(sentences)


def small_copies(sizes: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """A further limit if the images were smaller than full-size radiographs. `sizes`: those of `audit.summarise`."""
    width, height = (max(sides[side][-1] for sides in sizes.values()) for side in ("width", "height"))
    if max(width, height) > SMALL:
        return []
    copies = f"copies of at most {width:g} × {height:g} pixels"
    return [f"The model was trained and measured only on {copies}, not on full-size radiographs."]


def negative(description: Description) -> str:
    return next(label for label in description.labels if label != description.positive)
