"""From cells to what tables say: means, intervals, paired comparisons, subgroups, and what an experiment derives."""
