"""What experiments derive from stored predictions besides intervals and comparisons: one file each, asked for by ``derived:``.

A derivation is a module with ``derive(store, plan, resamples, memo)``, whose JSON value is stored with the plan as
``statistics[name]``, so that a report finds it without computing anything slow; ``memo`` holds what was scored already
(``results.statistics.fold_values.Memo``).
"""
