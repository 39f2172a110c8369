"""eICU-CRD: cohorts from the raw tables of the full release (2.0) or of its open demo.

Cite: Pollard et al. (2018), The eICU Collaborative Research Database, Scientific Data 5:180178.
"""
