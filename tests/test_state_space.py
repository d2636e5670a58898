"""The way from an ODE to the selective scan: every form against another one, and against scipy."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.signal import cont2discrete

from fusionkit.errors import FusionkitError
from fusionkit.figures.style import Picture
from fusionkit.state_space import (
    DELTAS,
    RATES,
    SIGNALS,
    SWINGS,
    Scan,
    Setting,
    agreement,
    convolution,
    convolution_distance,
    discretise,
    exact,
    kernel,
    kernel_matrix,
    recurrence,
    rule_errors,
    rule_table,
    setting_words,
    signal_at,
)
from fusionkit.state_space_figures import (
    examples_figure,
    forms_figure,
    matrices_figure,
    rules_figure,
    selection_figure,
    system_figure,
)
from fusionkit.state_space_panel import SelectionPanel, SystemPanel
from fusionkit.state_space_selection import (
    CHOICES,
    MARKS,
    best_constant,
    cost_table,
    gate_scan,
    layer,
    marked_values,
    matrix_table,
    operator_output,
    operator_table,
    selection_error,
    selection_table,
    three_scans,
)

some_settings = st.builds(
    Setting,
    delta=st.floats(0.05, DELTAS[1]),
    rate=st.floats(*RATES),
    swing=st.floats(*SWINGS),
    signal=st.sampled_from(list(SIGNALS)),
)


# The continuous system


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("swing", [0, 3])
def test_exact_output_solves_the_equation(signal, swing):
    setting = Setting(rate=0.7, swing=swing, signal=signal)

    def slope(t, h):
        return setting.A * h - setting.A * signal_at(signal, np.array([t]))

    times = np.linspace(0, 12, 60)
    solved = solve_ivp(slope, (0, 12), np.zeros(1, complex), t_eval=times, rtol=1e-8, atol=1e-10, max_step=0.1)
    # Largest difference seen: 1e-7, where the pulse ends within a step of the solver.
    assert np.abs(solved.y[0].real - exact(setting, times)).max() < 1e-6


def test_signals_begin_at_zero_and_are_what_they_are_called():
    times = np.array([-1, 0, 1, 2.99, 3, 5])
    assert signal_at("step", times).tolist() == [0, 1, 1, 1, 1, 1]
    assert signal_at("pulse", times).tolist() == [0, 1, 1, 1, 0, 0]
    assert signal_at("sine", times)[1:] == pytest.approx(np.sin(1.5 * times[1:]))
    assert 0.3 < signal_at("noise", np.linspace(0, 12, 500)).std() < 2


def test_constant_input_comes_out_unchanged_in_the_end():
    assert exact(Setting(rate=2, swing=3), np.array([11.9])) == pytest.approx([1], abs=1e-9)


# Discrete steps


def test_zero_order_hold_is_that_of_scipy():
    setting = Setting(0.3, 0.6, 2.0)
    # The complex state as two real ones, h = p + qi.
    system = np.array([[-0.6, -2.0], [2.0, -0.6]]), np.array([[0.6], [-2.0]]), np.array([[1.0, 0.0]]), np.zeros((1, 1))
    A_bar, B_bar, *_ = cont2discrete(system, 0.3, "zoh")
    ours = discretise(setting.scan())
    assert ours[0][0, 0] == pytest.approx(A_bar[0, 0] + 1j * A_bar[1, 0])
    assert ours[1][0, 0] == pytest.approx(B_bar[0, 0] + 1j * B_bar[1, 0])


@settings(max_examples=15, deadline=None)
@given(some_settings)
@example(Setting(1.7972125315213943, 0.109375, 4.0))
def test_zero_order_hold_is_exact_for_a_step(setting):
    setting = Setting(setting.delta, setting.rate, setting.swing, "step")
    truth = exact(setting, setting.delta * np.arange(1, len(setting.starts) + 1))  # starts are rounded to 12 places
    assert np.abs(recurrence(setting.scan(), setting.samples) - truth).max() < 1e-12


@settings(max_examples=15, deadline=None)
@given(some_settings, st.sampled_from(["zoh", "mamba"]))
def test_loop_convolution_and_matrix_are_one(setting, rule):
    x, scan = setting.samples, setting.scan()
    y = recurrence(scan, x, rule)
    scale = 1e-12 * max(1, np.abs(kernel(setting, rule)).sum())
    assert np.abs(convolution(setting, rule) - y).max() < scale
    assert np.abs(kernel_matrix(scan, rule) @ x - y).max() < scale


def test_mambas_rule_settles_too_high_by_a_known_factor():
    setting = Setting(delta=1.0, rate=1.6)
    settled = recurrence(setting.scan(), setting.samples, "mamba")[-1]
    assert settled == pytest.approx(1.6 / (1 - np.exp(-1.6)), rel=1e-6)
    assert rule_table().loc[1.6, "too large by"] == f"{100 * (settled - 1):.1f} %" == "100.5 %"


def test_rules_meet_at_small_steps_and_part_at_large_ones():
    sine = rule_errors(Setting(signal="sine"), np.array([0.02, 0.1, 1.0]))
    assert sine["mamba"].is_monotonic_increasing and sine["zoh"].is_monotonic_increasing
    assert (sine["mamba"] > sine["zoh"]).all() and sine["mamba"].iloc[0] < 0.02
    step = rule_errors(Setting(), np.array([0.02, 1.0]))
    assert step["zoh"].max() < 1e-12 < 0.009 < step["mamba"].iloc[0] < 0.011


def test_pulse_is_exact_only_if_it_ends_with_a_step():
    assert "zero-order hold none but rounding" in setting_words(Setting(0.5, signal="pulse"))
    assert "none" not in setting_words(Setting(0.7, signal="pulse"))


def test_agreement_sees_a_difference():
    ones = np.ones(3)
    assert agreement(ones, ones + 1e-14) == "agree to 1e-12"
    assert agreement(ones, ones + 0.1) == "differ by 10 %"


# Selection


def test_matrix_of_what_does_not_change_is_a_convolution():
    lags = np.subtract.outer(np.arange(6), np.arange(6))
    assert convolution_distance(np.where(lags >= 0, 0.5 ** np.abs(lags), 0)) < 1e-15
    assert convolution_distance(np.diag([1.0, -1.0])) == 1
    table = matrix_table()
    assert (table["matrix and loop"] == "agree to 1e-12").all()
    shares = table["share that no convolution has"]
    assert shares["nothing"] == "0" and (shares.drop("nothing").str.rstrip(" %").astype(float) > 50).all()


@pytest.mark.parametrize("name", three_scans())
def test_matrix_says_what_one_input_adds_to_all_outputs(name):
    scan, x = three_scans()[name]
    moved = x.copy()
    moved[20] += 1
    change = recurrence(scan, moved) - recurrence(scan, x)
    assert np.abs(change - kernel_matrix(scan)[:, 20]).max() < 1e-12
    assert not change[:20].any()


@settings(max_examples=15, deadline=None)
@given(st.floats(0.001, 10), st.floats(0.001, 10))
def test_softplus_of_the_layer_gives_the_steps_and_the_gate_is_its_sigmoid(at_marks, elsewhere):
    weight, bias = layer(at_marks, elsewhere)
    scan = gate_scan(np.array([1.0, 0.0]), at_marks, elsewhere)
    assert scan.delta == pytest.approx([at_marks, elsewhere], rel=1e-9)
    A_bar, B_bar = discretise(scan)
    sigmoid = 1 / (1 + np.exp(-np.array([weight + bias, bias])))
    assert B_bar[:, 0] == pytest.approx(sigmoid, rel=1e-9)
    assert (A_bar + B_bar)[:, 0] == pytest.approx([1, 1])
    assert discretise(scan, "mamba")[1][:, 0] == pytest.approx([at_marks, elsewhere], rel=1e-9)


def test_only_a_chosen_step_solves_the_task():
    toy = marked_values()
    assert toy.marks.sum() == len(MARKS) and toy.goal[: MARKS[0]].tolist() == [0] * MARKS[0]
    assert (toy.goal[MARKS[2] : MARKS[3]] == toy.values[MARKS[2]]).all()
    assert selection_error(*CHOICES["large at marks, small elsewhere"]) < 0.05
    assert 0.9 < best_constant() <= selection_error(*CHOICES["small everywhere"]) < selection_error(6, 6)
    assert selection_table()["error"].tolist() == [f"{selection_error(*sizes):.2f}" for sizes in CHOICES.values()]


def test_operator_is_the_loop():
    table = operator_table()
    assert list(table) == ["zero-order hold", "Mamba's rule"] and (table == "agree to 1e-12").all(axis=None)
    scan, x = three_scans()["delta"]
    assert np.abs(operator_output(scan, x) - recurrence(scan, x)).max() > 1  # one rule is not the other


def test_cost_of_the_scan_is_linear_and_that_of_attention_quadratic():
    table = cost_table((256, 1024))
    assert (table.loc[1024] / table.loc[256]).tolist() == [4, 16]
    assert table.loc[256, "scan"] == 9 * 192 * 256 * 16 / 1e9


# Bad input, pictures, panels


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"delta": 0.001}, "delta 0.001 is out of range; choose 0.02 to 4"),
        ({"rate": 0}, "rate 0"),
        ({"swing": -1}, "swing -1"),
        ({"swing": float("nan")}, "swing nan"),
        ({"signal": "puls"}, "did you mean pulse"),
    ],
)
def test_settings_out_of_range_are_refused(bad, words):
    with pytest.raises(FusionkitError, match=words):
        Setting(**bad)


def test_other_bad_input_is_refused():
    scan = Setting(swing=1).scan()
    with pytest.raises(FusionkitError, match="unknown rule 'zho'; did you mean zoh"):
        recurrence(scan, Setting().samples, "zho")
    with pytest.raises(FusionkitError, match="unknown signal"):
        signal_at("saw", np.zeros(1))
    with pytest.raises(FusionkitError, match="A: selective_scan takes real numbers"):
        operator_output(scan, Setting().samples)
    with pytest.raises(FusionkitError, match="step size 20 is out of range"):
        layer(20, 1)


def test_pictures():
    setting = Setting(0.5, 0.6, 2, "noise")
    figures = [examples_figure(), system_figure(setting), rules_figure(), forms_figure(setting), matrices_figure()]
    assert all(isinstance(figure, Picture) for figure in figures)
    assert [len(figure.axes) for figure in figures] == [8, 3, 2, 2, 6]
    drawn = {line.get_label(): line for axes in figures[1].axes for line in axes.lines}
    assert drawn["zero-order hold"].get_ydata() == pytest.approx(recurrence(setting.scan(), setting.samples))
    assert drawn["exact"].get_ydata()[-1] == pytest.approx(exact(setting, np.array([12.0]))[0])
    assert sum("error" in axes.get_title() for axes in selection_figure().axes) == len(CHOICES)


def test_ends_of_all_ranges_can_be_drawn():
    for delta, rate, swing in zip(DELTAS, RATES, SWINGS, strict=True):
        assert system_figure(Setting(delta, rate, swing, "noise"))._repr_png_()


def test_scan_of_several_states_adds_them_up():
    x, delta, ones = np.arange(5.0), np.full(5, 0.3), np.ones((5, 1))
    slow, fast = (recurrence(Scan(delta, np.array([A]), ones, ones), x) for A in (-1.0, -4.0))
    both = Scan(delta, np.array([-1.0, -4.0]), np.ones((5, 2)), np.ones((5, 2)))
    assert recurrence(both, x) == pytest.approx(slow + fast)


def test_system_panel_follows_its_knobs():
    panel = SystemPanel()
    assert panel.setting == Setting()
    panel.update()
    before = bytes(panel.picture.value)
    assert before[:4] == b"\x89PNG"
    panel.delta.value = 10**panel.delta.max
    panel.swing.value, panel.signal.value = 6, "sine"
    assert bytes(panel.picture.value) != before
    assert panel.words.value == setting_words(Setting(3.981, 1, 6, "sine"))
    panel.delta.value = 10**panel.delta.min
    assert panel.setting.delta == 0.025


def test_selection_panel_follows_its_knobs():
    panel = SelectionPanel()
    panel.update()
    before = bytes(panel.picture.value)
    panel.at_marks.value, panel.elsewhere.value = 10, 0.001
    assert bytes(panel.picture.value) != before
    assert panel.words.value == "delta = 10 at marks, 0.001 elsewhere"
