"""Decides what to test next, what to recommend, and when nothing cheaper is plausible any more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtr

from tuner.search.structured.beliefs import (
    Guess,
    PhysicalBelief,
    believe_physics,
    believe_plain,
    pooled,
    structureless,
)
from tuner.search.structured.earlier import NO_EARLIER, Earlier, at_the_same_load, with_prior
from tuner.search.structured.memory import REPLICAS, can_be_scheduled, fits_in_memory, starts_like_others
from tuner.search.structured.modes import Mode
from tuner.search.structured.observation import Floats, Ints, Observation, Terrain
from tuner.search.structured.physics import physics_of
from tuner.search.structured.plain import Process, features

MODELS = ("physics", "plain", "structureless")
MODEL_PRIOR = np.array([0.65, 0.3, 0.05])
MOST_SURPRISE = 3.0
UNSCORED = 2
TEMPER = 0.6
FORGET = 0.93
ACCEPT = 0.90
PROVEN = 0.97
WORTHWHILE = 0.012
PATIENCE = 15.0
# Where whoever asks proves the winner, the tests that this would have taken are left for other candidates.
LONG_PATIENCE = 25.0
MOST_TESTS = 4
RETEST_WORTH = 0.5
SHORTLIST = 400
SAMPLE = 20_000
FAILURES_TOLERATED = 2
HOPE = 0.25
LASTING_DOUBT = 0.03
FINALIST_EDGES = (-0.8, -0.25)
LEAST_START = 0.06
PENDING_STEPS = 4.0
OTHER_LABEL = 2.0
OFTEN_FITTED = 40
SELDOM_FITTED = 25
NOTHING: Ints = np.zeros(0, dtype=np.int64)
CLEARLY_OVER = 1.0
HOPELESS = 0.1
ENOUGH_ALONE = 3
LEAST_TRUST = 0.2
WILD_FROM = 6
WILD = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """Test this candidate; `feasible` is what was believed of it."""

    row: int
    feasible: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing left worth a test, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The cheapest tested candidate believed feasible."""

    row: int
    feasible: float
    tests: int


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is believed after a history: the models and their weights."""

    physical: PhysicalBelief
    plain: Process | None
    weights: Floats


class StructuredSearch:
    """One search over one terrain. Same observations in the same order, same answers."""

    def __init__(self, terrain: Terrain, earlier: Earlier = NO_EARLIER) -> None:
        self.terrain = terrain
        self.features = features(terrain)
        self.observations: list[Observation] = []
        self._earlier = earlier
        self._physics = with_prior(physics_of(terrain), earlier.parameters)
        self._scores = np.zeros(len(MODELS))
        self._modes: tuple[Mode, ...] = ()
        self._opinion: Opinion | None = None
        self._tests: dict[int, int] = {}
        self._refused: set[int] = set()
        self._data = pooled(terrain, (), None)
        self._failures: dict[int, int] = {}

    def observe(self, seen: Observation) -> None:
        """Learn from one test. A test that failed for reasons of its own teaches nothing."""
        if _fitted_at(len(self.observations)):
            self.opinion()  # whether or not anybody asked: the next fit starts from this one
        if seen.outcome == "served":
            self._score(seen)
            self._tests[seen.row] = self._tests.get(seen.row, 0) + 1
        elif seen.outcome == "failed":
            self._failures[seen.row] = self._failures.get(seen.row, 0) + 1
        else:
            self._refused |= {seen.row, *seen.also}
        self.observations.append(seen)
        self._opinion = None
        self._data = pooled(self.terrain, self.observations, None)

    def opinion(self) -> Opinion:
        """What is believed now."""
        if self._opinion is None:
            seen = [*self._earlier.observations, *self.observations]
            physical = believe_physics(self._physics, seen, self.features, self._modes)
            if _fitted_at(len(self.observations)):
                self._modes = physical.modes if len(physical.known.rows) else ()
            alike = [*at_the_same_load(self.terrain, self._earlier.observations), *self.observations]
            plain = believe_plain(self.terrain, alike, self.features)
            log_weights = np.log(MODEL_PRIOR) + TEMPER * self._scores
            if plain is None:
                log_weights[1] = -np.inf
            weights = np.exp(log_weights - log_weights.max())
            weights = (1.0 - LASTING_DOUBT) * weights / weights.sum()
            weights[0 if plain is None else 1] += LASTING_DOUBT
            self._opinion = Opinion(physical, plain, weights)
        return self._opinion

    def feasible(self, rows: Ints) -> Floats:
        """P[starts and meets the limit], mixed over the models."""
        return np.asarray(self.meets_limit(rows) * self.starts(rows))

    def starts(self, rows: Ints) -> Floats:
        seen = [*self._earlier.observations, *self.observations]
        chance = fits_in_memory(self.terrain, seen, rows)
        chance = chance * can_be_scheduled(self.terrain, seen, rows)
        chance = chance * starts_like_others(self.terrain, seen, rows)
        return np.where(np.isin(rows, np.array(list(self._tests), dtype=np.int64)), 1.0, chance)

    def meets_limit(self, rows: Ints) -> Floats:
        opinion = self.opinion()
        chances = [guess.feasible() for guess in self._guesses(rows, opinion)]
        return np.asarray(sum(weight * chance for weight, chance in zip(opinion.weights, chances, strict=True)))

    def foretold(self, seen: Observation) -> float:
        """Log density of a served test that is still to be observed, mixed over the models."""
        data = pooled(self.terrain, [seen], None)
        opinion = self.opinion()
        each = [g.log_density(float(data.values[0]), float(data.noise[0])) for g in self._guesses(data.rows, opinion)]
        return float(np.log(np.exp(each) @ opinion.weights))

    def severity(self, rows: Ints) -> Floats:
        """5 %, 50 % and 95 % points of log(latency / limit) by the model that is believed most: 3 x rows."""
        opinion = self.opinion()
        guess = self._guesses(rows, opinion)[int(np.argmax(opinion.weights))]
        source = np.random.default_rng([self.terrain.seed, 2])
        jitter = source.standard_normal((16, 1, 1)) * guess.spread
        return np.asarray(np.percentile((guess.means + jitter).reshape(-1, len(rows)), (5.0, 50.0, 95.0), axis=0))

    @property
    def earlier(self) -> Earlier:
        """What it began with."""
        return self._earlier

    def was_tested(self, row: int) -> bool:
        return row in self._tests

    def was_refused(self, row: int) -> bool:
        return row in self._refused

    def tested_share(self) -> float:
        """The share of all candidates that was deployed."""
        return len(self._tests.keys() | self._refused) / self.terrain.size

    def own_chance(self, rows: Ints) -> Floats:
        """P[meets the limit] by each candidate's own tests alone."""
        data = self._data
        found = np.zeros(len(rows))
        for k, row in enumerate(rows):
            mine = data.rows == row
            spread = np.hypot(data.noise[mine].mean() / np.sqrt(mine.sum()), 0.02)
            found[k] = ndtr(-np.median(data.values[mine]) / spread)
        return found

    def recommend(self) -> Choice | None:
        """The cheapest candidate that was tested and is believed to meet the limit."""
        rows = np.array([row for row in sorted(self._tests) if not self._refuted(row)], dtype=np.int64)
        if not len(rows):
            return None
        chance = np.minimum(self.feasible(rows), 1.0 - 0.4 * (1.0 - self.own_chance(rows)))
        chance = np.maximum(chance, [self._proved(int(row)) for row in rows])
        good = np.flatnonzero(chance >= ACCEPT)
        if not len(good):
            return None
        best = min(good, key=lambda k: (self.terrain.cost[rows[k]], -chance[k]))
        return Choice(int(rows[best]), float(chance[best]), self._tests[int(rows[best])])

    def suggest(self, blocked: Ints = NOTHING, *, pending: Ints = NOTHING, retests: bool = True) -> Step | Stop:
        """The test with the highest chance-weighted saving; the recommendation's own re-test when none is left.

        `blocked` rows may not be proposed, `pending` ones are under test: others like them are worth less.
        """
        chosen = self.recommend()
        rows, chance = self._contenders(chosen, blocked, retests=retests)
        if len(rows):
            worth = chance * self._saving(rows, chance, chosen) * self._fresh(rows) * self._unlike(rows, pending)
            pick = int(np.argmax(worth))
            least = self._least_worth(PATIENCE if retests else LONG_PATIENCE)
            if chosen is None or worth[pick] >= least or self._chance_left(chosen) >= least:
                wild = self._wild(chosen, blocked)
                if wild is not None:
                    return Step(wild, float(self.feasible(np.array([wild]))[0]), "the models are at a loss")
                return Step(int(rows[pick]), float(chance[pick]), "cheapest plausible")
        if chosen is None:
            return self._anything(blocked)
        unproven = chosen.feasible < PROVEN and chosen.tests < MOST_TESTS
        if retests and (unproven or chosen.tests < self._tests_owed(chosen.row)):
            return Step(chosen.row, chosen.feasible, "re-test of the recommendation")
        return Stop(
            f"no cheaper configuration is plausible: the best so far holds with probability {chosen.feasible:.0%}"
        )

    def _proved(self, row: int) -> float:
        """P[meets the limit] by at least ENOUGH_ALONE tests and Student's t, whatever the models say; else 0."""
        mine = self._data.values[self._data.rows == row]
        if len(mine) < ENOUGH_ALONE:
            return 0.0
        spread = max(float(mine.std(ddof=1)), 0.03) / np.sqrt(len(mine))
        return float(stdtr(len(mine) - 1, -mine.mean() / spread))

    def _tests_owed(self, row: int) -> int:
        """A finalist is tested afresh, the oftener the nearer it is to the limit: one good test may be luck."""
        value = float(np.median(self._data.values[self._data.rows == row]))
        return 1 + sum(value > edge for edge in FINALIST_EDGES)

    def _anything(self, blocked: Ints) -> Step | Stop:
        """Where no candidate is likely to start, the likeliest one is still worth more than none."""
        left = np.ones(self.terrain.size, dtype=bool)
        left[blocked] = False
        left[sorted(self._refused)] = False
        left[[row for row in self._tests if self._refuted(row) or self._tests[row] >= MOST_TESTS]] = False
        rows = self._sample(np.flatnonzero(left))
        if not len(rows):
            return Stop("no candidate is left that could meet the limit")
        chance = self.feasible(rows)
        best = int(np.argmax(chance + 1e-6 * self.starts(rows)))
        return Step(int(rows[best]), float(chance[best]), "likeliest to start")

    def _fresh(self, rows: Ints) -> Floats:
        """Tests again are worth less, and tests of what failed for reasons of its own still less."""
        again = np.isin(rows, np.array(list(self._tests), dtype=np.int64))
        failed = np.array([0.5 ** self._failures.get(int(row), 0) for row in rows])
        return np.asarray(np.where(again, RETEST_WORTH, 1.0) * failed)

    def _unlike(self, rows: Ints, pending: Ints) -> Floats:
        """1 far from everything pending, 0 where it is pending itself; far is some steps on the knobs' own scales."""
        found = np.ones(len(rows))
        for row in pending:
            square = np.zeros(len(rows))
            for knob in self.terrain.knobs:
                steps = np.abs(knob.positions[rows].astype(float) - float(knob.positions[row]))
                if knob.name != REPLICAS:
                    square += steps**2 if knob.numbers is not None else OTHER_LABEL**2 * (steps > 0)
            found *= 1.0 - np.exp(-0.5 * square / PENDING_STEPS**2)
        return found

    def _doubt(self) -> float:
        """How little the physics has to say: 0 where it predicts what tests show, 1 where it never does."""
        return 1.0 - float(self.opinion().weights[0])

    def _least_worth(self, patience: float) -> float:
        """What a test must promise: more and more, and more slowly where the models are to be doubted."""
        patience /= max(1.0 - self._doubt(), LEAST_TRUST)
        return float(WORTHWHILE * (len(self.observations) / patience) ** 3)

    def _chance_left(self, chosen: Choice) -> float:
        """What a test of any cheaper candidate promises if the models know nothing: by the rule of succession."""
        cost = self.terrain.cost
        failed = sum(bool(cost[row] < cost[chosen.row]) for row in self._tests.keys() | self._refused)
        cheaper = np.flatnonzero(cost < cost[chosen.row])
        if len(cheaper) <= failed:
            return 0.0
        saving = float(np.log(cost[chosen.row] / np.median(cost[cheaper])))
        return self._doubt() * saving / (failed + 2.0)

    def _wild(self, chosen: Choice | None, blocked: Ints) -> int | None:
        """Any cheaper candidate, now and then, as often as the models are to be doubted.

        What is random among what is cheaper beats what is random: a search that knows nothing is no worse than that.
        """
        source = np.random.default_rng([self.terrain.seed, len(self.observations)])
        if len(self.observations) < WILD_FROM or source.random() >= WILD * self._doubt():
            return None
        cost = self.terrain.cost
        left = np.ones(len(cost), dtype=bool) if chosen is None else cost < cost[chosen.row] * (1.0 - 1e-9)
        left[blocked] = False
        left[sorted(self._refused | self._tests.keys() | self._failures.keys())] = False
        rows = self._sample(np.flatnonzero(left))
        rows = rows[self.starts(rows) > LEAST_START] if len(rows) else rows
        return int(rows[source.integers(len(rows))]) if len(rows) else None

    def _contenders(self, chosen: Choice | None, blocked: Ints, *, retests: bool) -> tuple[Ints, Floats]:
        """What could still be cheaper than the recommendation, with the chance that it meets the limit."""
        cost = self.terrain.cost
        left = np.ones(len(cost), dtype=bool) if chosen is None else cost < cost[chosen.row] * (1.0 - 1e-9)
        left[blocked] = False
        left[self._spent(retests=retests)] = False
        rows = self._sample(np.flatnonzero(left))
        rows = rows[self.starts(rows) > LEAST_START] if len(rows) else rows
        rows = self._shortlist(rows, chosen)
        return rows, self.feasible(rows) if len(rows) else np.zeros(0)

    def _sample(self, rows: Ints) -> Ints:
        """Of very many rows, a random part: the whole is never looked at."""
        if len(rows) <= SAMPLE:
            return rows
        source = np.random.default_rng([self.terrain.seed, len(self.observations), 1])
        return np.sort(source.choice(rows, SAMPLE, replace=False, shuffle=False))

    def _shortlist(self, rows: Ints, chosen: Choice | None) -> Ints:
        """The rows that a few draws like most, and all that were tested: only these are looked at closely."""
        if len(rows) <= SHORTLIST:
            return rows
        opinion = self.opinion()
        chances = [guess.feasible() for guess in self._guesses(rows, opinion, few=True)]
        rough = np.asarray(sum(w * chance for w, chance in zip(opinion.weights, chances, strict=True)))
        worth = rough * self._saving(rows, rough, chosen)
        keep = np.argpartition(-worth, SHORTLIST)[:SHORTLIST]
        return np.union1d(rows[keep], rows[np.isin(rows, np.array(list(self._tests), dtype=np.int64))])

    def _spent(self, *, retests: bool) -> list[int]:
        """Rows that no further test would change: refused, refuted, or tested often enough."""
        gone = self._refused | {row for row, count in self._failures.items() if count > FAILURES_TOLERATED}
        if not retests:
            return sorted(gone | self._tests.keys())
        return sorted(gone | {row for row in self._tests if self._refuted(row) or self._tests[row] >= MOST_TESTS})

    def _refuted(self, row: int) -> bool:
        """One test says so clearly, or several together."""
        mine = self._data.values[self._data.rows == row]
        if len(mine) < 2:
            return bool(mine[0] > CLEARLY_OVER)
        return bool(self.own_chance(np.array([row]))[0] < HOPELESS)

    def _saving(self, rows: Ints, chance: Floats, chosen: Choice | None) -> Floats:
        cost = self.terrain.cost
        if chosen is not None:
            return np.asarray(np.log(cost[chosen.row] / cost[rows]))
        likely = rows[chance >= 0.8 * chance.max()]
        hopeful = chance.max() > HOPE or len(self.observations) >= WILD_FROM
        ceiling = 1.3 * float(cost[likely].min()) if hopeful else float(cost[rows].max())
        return np.asarray(np.maximum(np.log(ceiling / cost[rows]), 0.02))

    def _guesses(self, rows: Ints, opinion: Opinion, *, few: bool = False) -> list[Guess]:
        points = self.features[rows]
        guesses = [opinion.physical.guess(rows, points, few=few)]
        if opinion.plain is None:
            guesses.append(Guess(np.full((1, len(rows)), 1.0), np.full(len(rows), 1.0)))
        else:
            mean, spread = opinion.plain.predict(rows, points)
            guesses.append(Guess(mean[None], spread))
        alike = structureless(self.terrain, self.observations)
        means = np.repeat(alike.means, len(rows), axis=1)
        spread = np.full(len(rows), float(alike.spread[0]))
        data = self._data
        for k in np.flatnonzero(np.isin(rows, data.rows)):
            mine = data.rows == rows[k]
            means[:, k] = data.values[mine].mean()
            spread[k] = 0.12 / np.sqrt(mine.sum())
        guesses.append(Guess(means, spread))
        return guesses

    def _score(self, seen: Observation) -> None:
        """Judge the models by what they said of this test before it was made."""
        if self._tests.get(seen.row) or len(self._tests) < UNSCORED or not _fitted_at(len(self.observations)):
            return
        data = pooled(self.terrain, [seen], None)
        guesses = self._guesses(np.array([seen.row]), self.opinion())
        found = np.array([guess.log_density(float(data.values[0]), float(data.noise[0])) for guess in guesses])
        self._scores = FORGET * self._scores + np.maximum(found - found.max(), -MOST_SURPRISE)


def _fitted_at(count: int) -> bool:
    """After which numbers of observations the models are fitted and judged, asked or not.

    A long history is replayed in bounded time, and a resumed search takes the same path as an uninterrupted one.
    """
    return count <= OFTEN_FITTED or count % SELDOM_FITTED == 0
