"""Drug classes by the sequence number of First Databank's ingredient list (``drughiclseqno``), for orders that carry no name.

In ``medication`` of the open demo four orders in ten have a code and no ``drugname``. The list is fixed. Most of it was compiled
from the demo: a code stands in a class where at least 90 % of its named orders (three or more, in ``medication`` and
``admissionDrug``) match the class in ``drug_words.DRUG_CLASSES``; no outcome was looked at. Two codes were added by hand, for
brand names that the patterns lack: 1730 (hydrocodone) and 2879 (prednisone). A code that never comes with a name in the demo cannot
be found that way: the codes of vasopressors, inotropes and anticoagulants are completed from the public concept ``pivoted_med``
(MIT-LCP/eicu-code). Codes that neither has, and classes without a code here, go by name alone.
"""

from __future__ import annotations

DRUG_CODES: dict[str, tuple[int, ...]] = {
    "vasopressor": (
        2050, 2051, 2059, 2060, 2087, 2839, 34361, 35517, 35587, 36346, 36437, 37028, 37407, 37410, 38883, 38884, 39089,
    ),
    "inotrope": (40, 8777, 9744),
    "sedative": (1619, 4842, 4846, 10329, 20971, 24523, 34908, 40230),
    "opioid": (1687, 1694, 1695, 1730, 1741, 1742, 1747, 6438, 22724, 25277, 25386, 33243, 34805),
    "paralytic": (1948, 8963, 10278),
    "antibiotic": (
        3976, 3996, 4012, 4042, 4157, 6071, 6334, 8259, 8466, 8738, 10093, 10132, 11254, 12383,
        12384, 13446, 25040, 26808, 32900, 33094, 35282, 37442,
    ),
    "antifungal_antiviral": (4868,),
    "anticoagulant": (2807, 2808, 2810, 2812, 7878, 8643, 9545, 24859, 33314, 33442, 35915, 37792, 39654),
    "antiplatelet": (1794, 1820, 11792, 17539, 36159, 37328),
    "beta_blocker": (2095, 2101, 2102, 2104, 6323, 7396, 13795),
    "ace_inhibitor_or_arb": (131, 132, 9829, 12204),
    "calcium_channel_blocker": (180, 182, 183, 6494, 35779),
    "vasodilator": (89, 136, 159, 3672, 5888, 6341),
    "antiarrhythmic": (4, 82, 83, 17793),
    "diuretic": (131, 2901, 3649, 3660, 3663, 3664, 8829, 34632),
    "statin": (6227, 6312, 12404, 25009),
    "insulin": (768, 780, 6215, 11528, 19949, 20334, 20769, 22025, 26407),
    "steroid": (2866, 2874, 2876, 2877, 2879, 2888, 2889, 36808, 36875),
    "bronchodilator": (57, 517, 2073, 2074, 9040, 19858, 19963, 21993, 24024),
    "acid_suppression": (4519, 4520, 4521, 4673, 8993, 11115, 21607, 22008, 25968, 35085, 35107),
    "electrolyte": (532, 540, 549, 551, 582, 585, 610, 6306, 7844, 11249, 14772, 17791, 25281, 37109),
    "anticonvulsant": (1877, 1879, 1882, 1884, 8831, 20952, 38373),
    "antipsychotic": (1661, 1662, 11814, 14015),
    "bicarbonate": (523,),
}  # fmt: skip
