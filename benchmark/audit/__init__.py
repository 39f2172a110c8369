"""The audit: what each step of the released evaluation adds, on cohorts where the truth is known.

The steps are described in `benchmark.audit.steps`. Methods, splits, metrics, rectifier and training loop are the suite's; a step is a
change of the cohort before the fit, of the rows handed to the fit, or of the predictions after it.
"""
