"""Partitions by the papers' definitions, sample by sample."""

import numpy as np


def per_client_dirichlet(labels, clients, alpha, rng):
    """Acar et al.: clients in random order draw a label for each of their samples from their own mix.

    A label whose class is used up is drawn again. Returns the counts of labels, (clients, classes).
    """
    classes = int(labels.max()) + 1
    left = np.bincount(labels, minlength=classes)
    counts = np.zeros((clients, classes), dtype=int)
    sizes = [len(part) for part in np.array_split(labels, clients)]
    for client in rng.permutation(clients):
        mix = rng.dirichlet(np.full(classes, alpha))
        while counts[client].sum() < sizes[client]:
            weights = np.where(left > 0, mix, 0)
            if weights.sum() == 0:
                weights = left.astype(float)
            label = rng.choice(classes, p=weights / weights.sum())
            counts[client, label] += 1
            left[label] -= 1
    return counts


def long_tail_counts(counts, ratio):
    """Cui et al.: n_c = n * ratio ** (-c / (k - 1)), at least one sample, at most what there is."""
    kept = []
    for place, count in enumerate(counts):
        wanted = int(max(counts) * (1 / ratio) ** (place / (len(counts) - 1.0)))
        kept.append(min(count, max(1, wanted)))
    return kept


def home_share(labels, parts, groups):
    """Return the share of samples that lie with the group of their label. `groups` has lists of clients."""
    at_home = sum(
        int(labels[position] == group)
        for group, members in enumerate(groups)
        for client in members
        for position in parts[client]
    )
    return at_home / len(labels)
