"""Tasks in the space of states: Gaussians of one covariance, the workers' mean scores, and groups without names."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.fugu.head import unit
from models.fugu.learn.targets import Floats

Indices = NDArray[np.intp]


class Classes:
    """Tasks as Gaussians of one covariance, by standardised states [Q, d], labels [Q, L] (NaN: not measured) and
    task [Q] in 0 … T − 1; `centres` [T, d]. One eigenvalue problem of size d serves all penalties and tasks left out.
    """

    def __init__(self, standard: Floats, labels: Floats, task: Indices, count: int) -> None:
        size = np.bincount(task, minlength=count)
        self.questions = len(task)
        member = np.eye(count)[task]
        self.centres = member.T @ standard / np.maximum(size, 1)[:, None]
        self.share = (size + 0.5) / (len(task) + 0.5 * count)
        within = standard - self.centres[task]
        values, self.vectors = np.linalg.eigh(within.T @ within / len(task))
        self.values = np.maximum(values, 0.0)
        own = labels - np.nanmean(labels, axis=1, keepdims=True)
        seen = ~np.isnan(own)
        means = member.T @ np.where(seen, own, 0.0) / np.maximum(member.T @ seen, 1)
        rest = np.where(seen, own - means[task], 0.0)  # what was not measured says nothing of a slope
        turned = within @ self.vectors
        self.slope = np.stack([turned[task == each].T @ rest[task == each] for each in range(count)])

    def regression(self, penalty: float, temperature: float) -> tuple[Floats, Floats]:
        """Weights [T, d] and bias [T] of the logits of P(task), `penalty` added to each variance."""
        turned = self.centres @ self.vectors
        scaled = turned / (self.values + penalty)
        bias = np.log(self.share) - (turned * scaled).sum(axis=1) / 2
        return scaled @ self.vectors.T / temperature, bias / temperature

    def widest(self, most: int) -> Floats:
        """At most so many directions in which states vary within tasks by more than one, each of length √(1 − 1/v) for
        a variance of v: what `familiarity` takes to count it as one. [D, d]."""
        wide = np.flatnonzero(self.values > 1)[::-1][:most]
        return (self.vectors[:, wide] * np.sqrt(1 - 1 / self.values[wide])).T

    def slopes(self, penalty: float, among: Indices) -> Floats:
        """Ridge regression [L, d] of the scores on the states within the tasks `among`, each less its task's mean."""
        total = self.slope[among].sum(axis=0) / self.questions
        return (self.vectors @ (total / (self.values + penalty)[:, None])).T


def task_means(
    labels: Floats, task: Indices, count: int, caution: float = 0.0, prior: float = 0.0
) -> tuple[Floats, Floats]:
    """Means [T, L] of the workers on each task, and overall [L], from labels [Q, L] (NaN: not measured).

    Workers are compared on the same questions: what a question gives all of them is taken out first, so that a
    standard error is that of their differences.
    """
    level = np.nanmean(labels, axis=1, keepdims=True)
    own = labels - level
    overall = np.nan_to_num(np.nanmean(own, axis=0))
    means = np.zeros((count, labels.shape[1]))
    for each in range(count):
        some = own[task == each]
        seen = (~np.isnan(some)).sum(axis=0)
        if not len(some):
            means[each] = overall + level.mean()
            continue
        total = np.nansum(some, axis=0)
        mean = (total + prior * overall) / np.maximum(seen + prior, 1e-12)
        centre = total / np.maximum(seen, 1)
        spread = np.sqrt(np.nansum((some - centre) ** 2, axis=0) / np.maximum(seen - 1, 1))
        error = spread / np.sqrt(np.maximum(seen, 1))
        moved = mean - overall
        moved = np.sign(moved) * np.maximum(np.abs(moved) - caution * error, 0.0)
        means[each] = overall + moved + level[task == each].mean()
    return means, overall + float(level.mean())


def clusters(standard: Floats, most: int, seed: int) -> Indices:
    """Groups of similar states, for questions that name no tasks: standardised states [Q, d] → [Q], fewer than `most`
    groups where they would hold under 50 questions."""
    from sklearn.cluster import KMeans

    count = max(1, min(most, len(standard) // 50))
    directions = unit(torch.from_numpy(standard)).numpy()
    found: Indices = KMeans(count, n_init=2, random_state=seed).fit_predict(directions).astype(np.intp)
    return np.unique(found, return_inverse=True)[1]
