"""The synthetic cohorts: a structural causal model with a known mechanism and a known best prediction."""
