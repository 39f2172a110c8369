"""What methods share: the training loop, layers, preprocessing, series, outcomes, stacks, the plain network, the rectifier."""
