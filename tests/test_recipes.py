"""Recipes: the paper's numbers, schedules, and errors that name the key."""

import json
from dataclasses import fields

import pytest

from fusionkit import FusionkitError
from fusionkit.recipes import Recipe, Schedule, final_recipes, list_recipes, load_recipe
from fusionkit.weights import weight_folders

CARDS = sorted(card for folder in weight_folders() for card in folder.glob("*/*.json"))


def test_the_papers_protocol():
    recipe = load_recipe("lightfusionnet/pet_mri")
    assert (recipe.epochs, recipe.batch, recipe.crop, recipe.lr, recipe.flips) == (200, 4, 64, 1e-4, False)
    rates = [recipe.schedule.rate(recipe.lr, epoch, 0, 1) for epoch in (0, 49, 50, 99, 100, 150, 199)]
    assert rates == [1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 1.25e-5, 1.25e-5]


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_builds_its_model(name):
    from fusionkit import losses
    from fusionkit.data import get_dataset
    from fusionkit.models import build_model

    recipe = load_recipe(name)
    build_model(recipe.model, **recipe.options)
    losses.preset(recipe.loss, recipe.loss_weights)
    for item in recipe.data:
        dataset, _, split = item.partition("/")
        get_dataset(dataset).split(split)


def test_final_runs_leave_out_what_others_start_from():
    runs = [load_recipe(name) for name in list_recipes()]
    starts = {f"{run.paper}/{run.init}" for run in runs if run.init}
    assert starts <= set(list_recipes())
    assert set(final_recipes()) == set(list_recipes()) - starts


def test_cosine_warms_up_and_ends_at_its_final_rate():
    schedule = Schedule("cosine", start=3e-4, final=6e-4, warmup=0.05)
    rates = [schedule.rate(1.5e-3, 0, step, 1000) for step in range(1000)]
    assert 3e-4 < rates[0] < 3.5e-4
    assert rates[49] == pytest.approx(1.5e-3)
    assert rates[-1] == pytest.approx(6e-4)
    assert max(rates) <= 1.5e-3


def test_decay_and_constant():
    assert Schedule("decay", factor=0.75).rate(1e-4, 2, 0, 1) == pytest.approx(1e-4 * 0.75**2)
    assert Schedule().rate(2e-5, 7, 7, 9) == 2e-5


def test_seed_is_part_of_the_name():
    assert load_recipe("lightfusionnet/pet_mri", seed=2).name == "pet_mri-seed2"


def test_unknown_run_key_and_schedule():
    with pytest.raises(FusionkitError, match="did you mean lightfusionnet/pet_mri"):
        load_recipe("lightfusionnet/pet_mr")
    with pytest.raises(FusionkitError, match="did you mean epochs"):
        load_recipe("lightfusionnet/pet_mri", epoch=3)
    with pytest.raises(FusionkitError, match="did you mean steps"):
        Schedule("step")


@pytest.mark.parametrize("card", CARDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_committed_weights_were_trained_as_their_recipe_says(card):
    trained = json.loads(card.read_text())["recipe"]
    recipe = load_recipe(f"{trained['paper']}/{trained['run']}", trained["seed"])
    assert recipe.name == card.stem and recipe.model == card.parent.name
    today = json.loads(json.dumps(recipe.to_dict()))
    defaults = {field.name: field.default for field in fields(Recipe)}
    assert trained == {key: value for key, value in today.items() if key in trained or value != defaults[key]}
