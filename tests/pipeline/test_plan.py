"""Which steps apply, what feeds them, and how the time budget is divided."""

import json
import random

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.plan import make_plan
from lmwright.pipeline.recipe import load_recipe

from .conftest import RECIPE


def plan_of(path, *overrides):
    return make_plan(load_recipe(path, list(overrides)))


def names(plan):
    return [planned.step.name for planned in plan.steps]


def test_everything_applies_to_a_corpus_that_has_everything(recipe):
    plan = plan_of(recipe())
    assert names(plan) == ["corpus", "base", "aligned", "evaluation"]
    assert plan.not_applicable == {}
    assert plan.final == "aligned"


def test_a_step_whose_records_the_corpus_lacks_does_not_apply(recipe):
    plan = plan_of(recipe(), "corpus.kinds=[text]")
    assert names(plan) == ["corpus", "base", "evaluation"]
    assert plan.not_applicable == {"aligned": "the corpus has no preferences"}
    assert plan.steps[-1].sources == {"base": "base", "aligned": None}
    assert plan.final == "base"


def test_steps_downstream_do_not_apply_unless_a_list_offers_another(recipe):
    more = """\
  - name: again
    step: fakesteps.align
    inputs: {model: aligned}
  - name: other
    step: fakesteps.train
    inputs: {start: [again, aligned, base]}
final: [other, again]
"""
    path = recipe(RECIPE.replace("final: [aligned, base]\n", more))
    plan = plan_of(path, "corpus.kinds=[text]")
    assert names(plan) == ["corpus", "base", "evaluation", "other"]
    assert plan.not_applicable["again"] == "needs aligned, which does not apply"
    assert plan.steps[-1].sources["start"] == "base"
    everything = plan_of(path)
    assert everything.steps[-1].sources["start"] == "again"


def test_a_corpus_that_fits_no_step_is_an_error(tmp_path):
    (tmp_path / "corpus.json").write_text(json.dumps({"kinds": ["chats"]}))
    with pytest.raises(LmwrightError, match="the corpus has no text"):
        plan_of("fakesteps.train", f"input.corpus={tmp_path}")


def test_no_budget_gives_no_seconds(recipe):
    assert plan_of(recipe()).seconds_for("base", spent=1.0) is None


def test_budget_is_divided_by_shares_after_reserves(recipe):
    plan = plan_of(recipe(), "budget=100s")
    assert plan.seconds_for("corpus", spent=0.0) is None
    # 100 - 10 spent - 2 reserved for the evaluation, in shares 3 : 1
    assert plan.seconds_for("base", spent=10.0) == pytest.approx(88 * 3 / 4)
    # What the first training left or overdrew belongs to the next.
    assert plan.seconds_for("aligned", spent=70.0) == pytest.approx(28.0)
    assert plan.seconds_for("aligned", spent=99.0) == 1.0


def test_steps_that_do_not_apply_take_no_share(recipe):
    plan = plan_of(recipe(), "budget=100s", "corpus.kinds=[text]")
    assert plan.seconds_for("base", spent=0.0) == pytest.approx(98.0)


def test_an_own_budget_replaces_the_share(recipe):
    plan = plan_of(recipe(), "budget=100s", "aligned.budget=20s")
    assert plan.seconds_for("aligned", spent=0.0) is None
    assert plan.seconds_for("base", spent=0.0) == pytest.approx(100 - 2 - 20)


@pytest.mark.parametrize("seed", range(20))
def test_training_that_keeps_to_its_time_uses_the_whole_budget(recipe, seed):
    chance = random.Random(seed)
    shares = [round(chance.uniform(0.1, 5), 3) for _ in range(chance.randint(1, 5))]
    steps = [
        f"  - {{name: t{i}, step: fakesteps.train, share: {share}, "
        f"reserve: {chance.randint(1, 3)}s}}\n"
        for i, share in enumerate(shares)
    ]
    text = "steps:\n  - {name: corpus, step: fakesteps.corpus}\n" + "".join(steps)
    plan = plan_of(recipe(text), "budget=200s")
    spent = other = chance.uniform(0, 20)
    given = []
    for index in range(len(shares)):
        seconds = plan.seconds_for(f"t{index}", spent)
        given.append(seconds)
        reserve = plan.steps[index + 1].step.reserve
        spent += seconds + reserve  # each takes its time and its reserve
        other += reserve
    assert spent == pytest.approx(200.0)
    expected = [(200 - other) * share / sum(shares) for share in shares]
    assert given == pytest.approx(expected)


def test_what_is_gathered_is_what_applies(recipe):
    path = recipe(RECIPE.replace("fakesteps.evaluate", "fakesteps.compare"))
    plan = plan_of(path, "corpus.kinds=[text]")
    assert names(plan) == ["corpus", "base", "evaluation"]
    assert plan.steps[-1].sources == {"corpus": "corpus", "base": "base", "aligned": None}
