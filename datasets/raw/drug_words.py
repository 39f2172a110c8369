"""Drug classes and infusions by the words of a drug's name, the same for every dataset."""

from __future__ import annotations

DRUG_CLASSES: dict[str, str] = {
    "vasopressor": r"norepinephrine|levophed|\bepinephrine|adrenalin|phenylephrine|neo-?synephrine|vasopressin|dopamine",
    "inotrope": r"dobutamine|milrinone",
    "sedative": r"propofol|diprivan|midazolam|versed|dexmedetomidine|precedex|lorazepam|ativan|ketamine",
    "opioid": r"fentanyl|sublimaze|morphine|dilaudid|oxycodone|hydrocodone|norco|percocet|meperidine|hydromorphone",
    "paralytic": r"rocuronium|zemuron|vecuronium|cisatracurium|nimbex|succinylcholine|anectine",
    "antibiotic": r"vancomycin|vancocin|piperacillin|zosyn|penem\b|merrem|cefepime|ceftriaxone|rocephin|cefazolin|ancef|cefoxitin|"
    r"floxacin|levaquin|cipro\b|azithromycin|zithromax|metronidazole|flagyl|linezolid|zyvox|ampicillin|unasyn|clindamycin|cleocin|"
    r"gentamicin|tobramycin|doxycycline|aztreonam|daptomycin",
    "antifungal_antiviral": r"fluconazole|diflucan|micafungin|mycamine|caspofungin|voriconazole|acyclovir|oseltamivir|tamiflu",
    "anticoagulant": r"heparin|enoxaparin|lovenox|warfarin|coumadin|apixaban|eliquis|rivaroxaban|xarelto|dabigatran|argatroban|"
    r"bivalirudin|angiomax|fondaparinux|arixtra",
    "antiplatelet": r"aspirin|\basa\b|aspir 81|clopidogrel|plavix|ticagrelor|brilinta|prasugrel|effient|eptifibatide|integrilin",
    "beta_blocker": r"metoprolol|lopressor|toprol|carvedilol|coreg|atenolol|tenormin|labetalol|esmolol|propranolol|bisoprolol",
    "ace_inhibitor_or_arb": r"lisinopril|enalapril|captopril|ramipril|benazepril|quinapril|losartan|cozaar|valsartan|diovan|olmesartan",
    "calcium_channel_blocker": r"amlodipine|norvasc|diltiazem|cardizem|nicardipine|cardene|verapamil|nifedipine|clevidipine",
    "vasodilator": r"nitroglycerin|nitrostat|nitroprusside|nipride|hydralazine|apresoline|isosorbide|imdur",
    "antiarrhythmic": r"amiodarone|cordarone|pacerone|digoxin|lanoxin|adenosine|adenocard|sotalol|flecainide",
    "diuretic": r"furosemide|lasix|bumetanide|bumex|torsemide|demadex|thiazide|spironolactone|aldactone|metolazone|zaroxolyn|mannitol",
    "statin": r"(atorva|simva|rosuva|prava|lova|pitava)statin|lipitor|zocor|crestor|pravachol",
    "insulin": r"insulin|novolog|humalog|lantus|levemir|novolin|humulin|glargine|lispro|aspart\b",
    "steroid": r"prednisone|prednisolone|medrol|hydrocortisone|cortef|dexamethasone|decadron",
    "bronchodilator": r"albuterol|ipratropium|duoneb|xopenex|atrovent|proventil|ventolin|combivent|tiotropium|spiriva|advair|symbicort",
    "acid_suppression": r"prazole\b|protonix|prilosec|nexium|prevacid|famotidine|pepcid|ranitidine|zantac",
    "electrolyte": r"potassium chl|klor-?con|k-?dur|magnesium sulf|magnesium oxide|calcium glu|calcium chl|potassium phos|sodium phos",
    "anticonvulsant": r"levetiracetam|keppra|phenytoin|dilantin|valpro|depak|lacosamide|gabapentin|neurontin",
    "antipsychotic": r"haloperidol|haldol|quetiapine|seroquel|olanzapine|zyprexa|risperid",
    "bicarbonate": r"sodium bicarb",
}
"""Drug classes by a regular expression over the drug's name in lower case."""

INFUSIONS: dict[str, str] = {
    "norepinephrine": r"norepinephrine|levophed",
    "epinephrine": r"\bepinephrine|adrenalin",
    "phenylephrine": r"phenylephrine|neo-?synephrine",
    "vasopressin": r"vasopressin",
    "dopamine": r"dopamine",
    "dobutamine": r"dobutamine",
    "milrinone": r"milrinone",
    "propofol": r"propofol|diprivan",
    "midazolam_or_lorazepam": r"midazolam|versed|lorazepam|ativan",
    "dexmedetomidine": r"dexmedetomidine|precedex",
    "opioid": r"fentanyl|morphine|hydromorphone|dilaudid",
    "insulin": r"insulin",
    "heparin": r"heparin",
    "amiodarone": r"amiodarone",
    "diltiazem_or_nicardipine": r"diltiazem|cardizem|nicardipine|cardene",
    "nitroglycerin_or_nitroprusside": r"nitroglycerin|nitroprusside|nipride",
    "loop_diuretic": r"furosemide|lasix|bumetanide|bumex",
    "pantoprazole": r"pantoprazole|protonix",
    "paralytic": r"rocuronium|vecuronium|cisatracurium|nimbex",
    "bicarbonate": r"sodium bicarb",
}
"""Continuous infusions by a regular expression over the drug's name in lower case."""
