"""The report in a browser: it draws, asks no network, and does what its controls say."""

import re

import pytest
from browsing import open_browser, rows, watched

from fedpoison.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")


@pytest.fixture(scope="module")
def browser():
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def opened(browser, report_store, tmp_path_factory):
    """The page, with a title that would like to be markup, and what goes wrong in it or is asked for."""
    title = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    file = write_report([report_store], tmp_path_factory.mktemp("page") / "page.html", title=title).page
    page, troubles = watched(browser)
    page.goto(file.as_uri())
    assert [trouble for trouble in troubles if not trouble.startswith("data:")] == [file.as_uri()]
    troubles.clear()
    return page, troubles


@pytest.fixture
def page(opened):
    """The page as it is when it opens, with every figure drawn; in the end nothing may have gone wrong."""
    page, troubles = opened
    page.set_viewport_size({"width": 1200, "height": 900})
    page.emulate_media(color_scheme="light")
    page.evaluate("picked = null; state.hidden.clear(); toScreen()")
    themed(page, "light")
    page.evaluate("change({ attack: 1, strategy: 0, seed: '', round: null }); paint(figures.keys())")
    yield page
    assert [trouble for trouble in troubles if not trouble.startswith(("data:", "blob:"))] == []


def themed(page, theme):
    sync_api.expect(page.locator("html")).to_have_attribute("data-theme", theme)


def drawn(page, figure):
    return page.evaluate("id => document.getElementById(id).data[0].z", figure)


def names(page, figure):
    return page.evaluate("id => document.getElementById(id).data.map((trace) => trace.name)", figure)


def test_every_figure_is_drawn_and_described(page):
    for name in ("overview", "classes", "damage", "run-classes", "confusion", "trust", "timings"):
        holder = page.locator(f"#{name}-figure")
        assert holder.locator("svg.main-svg").count() > 0, name
        assert holder.get_attribute("aria-label"), name
    assert page.title().startswith("<img")
    assert page.locator("img").count() == 0


def test_the_slider_moves_the_confusion_matrix(page):
    assert page.locator("#round-said").inner_text() == "4 of 4"
    last = drawn(page, "confusion-figure")
    page.locator("#round").focus()
    page.keyboard.press("Home")
    assert page.locator("#round-said").inner_text() == "0 of 4"
    assert page.locator("#round").get_attribute("aria-valuetext") == "round 0 of 4"
    assert "After round 0" in page.locator("#run-facts").inner_text()
    page.evaluate("paint(figures.keys())")
    assert drawn(page, "confusion-figure") != last


def test_a_strategy_is_switched_off_everywhere(page):
    assert {"fedavg", "krum"} <= set(names(page, "classes-figure"))
    page.get_by_label("krum", exact=True).uncheck()
    page.evaluate("paint(figures.keys())")
    assert "krum" not in names(page, "classes-figure")
    assert "fedavg" in names(page, "classes-figure")
    assert len(drawn(page, "damage-figure")) == 1


def test_a_cell_of_the_heat_map_leads_to_its_runs(page):
    assert page.locator("[data-said=cell]").inner_text() == "fedavg under backdoor"
    plot = page.locator("#overview-figure .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
    sync_api.expect(page.locator("[data-said=cell]")).to_have_text("krum under none")
    assert page.evaluate("document.activeElement.id") == "run"


def test_a_cell_can_be_chosen_by_keyboard(page):
    page.locator("#overview-table summary").press("Enter")
    page.get_by_role("button", name="krum under backdoor").press("Enter")
    assert page.locator("[data-said=cell]").inner_text() == "krum under backdoor"
    assert "krum under backdoor" in page.locator("#said").inner_text()
    assert page.evaluate("state.seed") == ""
    page.locator("#seed").select_option("1")
    assert "Seed 1" in page.locator("#run-facts").inner_text()
    assert "seed = 1" in page.locator("#provenance-run pre").first.inner_text()


def test_the_theme_follows_the_system_and_the_button(page):
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    themed(page, "dark")
    dark = page.evaluate(background)
    assert dark != light
    page.get_by_role("button", name="Change to light colours").click()
    assert page.evaluate(background) == light
    themed(page, "light")


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_sticks_out_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_summary_sorts_and_filters_and_the_address_repeats_it(page):
    page.get_by_role("button", name="Accuracy", exact=True).click()
    values = page.locator("table[data-table=summary] tbody td:nth-child(3)")
    numbers = [float(text.split()[0]) for text in values.all_inner_texts()]
    assert numbers == sorted(numbers, reverse=True)
    page.locator("[data-filters=summary] select").first.select_option("krum")
    assert set(rows(page, "summary")) == {"krum"}
    assert page.locator("[data-count=summary]").inner_text() == "2 of 4 rows"
    page.locator("#strategy").select_option("1")
    address = page.evaluate("location.hash")
    assert "summary-sort=-accuracy" in address
    assert "strategy=krum" in address
    page.get_by_role("link", name="Damage").click()
    sync_api.expect(page).to_have_url(re.compile(r"#damage\?"))
    assert page.evaluate("location.hash.split('?')[1]") == address.split("?")[1]
    page.evaluate("location.hash = '#summary?summary-sort=runs&strategy=fedavg'")
    sync_api.expect(page.locator("[data-said=cell]")).to_have_text("fedavg under backdoor")
    assert len(rows(page, "summary")) == 4
    page.evaluate("location.hash = ''")


def undrawn(page):
    """Figures that are not drawn when the page has drawn all, or after 20 seconds."""
    look = "stale.size && performance.now() < end ? setTimeout(look, 20) : done([...stale])"
    begin = f"const end = performance.now() + 20000, look = () => {look};"
    return page.evaluate(f"new Promise((done) => {{ {begin} look(); }})")


def test_a_capture_of_the_page_has_every_figure(page):
    page.evaluate("repaint()")
    assert undrawn(page) == []


def test_figures_out_of_sight_are_drawn_on_a_page_that_is_never_idle(page):
    page.evaluate("void (requestIdleCallback = (draw, { timeout }) => setTimeout(draw, timeout))")
    page.evaluate("repaint()")
    assert undrawn(page) == []


def test_the_accuracy_is_next_to_the_strategy_on_a_narrow_screen(page):
    page.set_viewport_size({"width": 360, "height": 800})
    cell = page.locator("table[data-table=summary] tbody td.number").first
    assert cell.bounding_box()["x"] + cell.bounding_box()["width"] <= 360
    assert "backdoor" in " ".join(rows(page, "summary"))


def test_paper_gets_every_figure_in_light_colours(page):
    page.emulate_media(color_scheme="dark")
    themed(page, "dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    themed(page, "light")
    assert page.evaluate("stale.size") == 0
    assert page.locator("#confusion-figure").bounding_box()["width"] <= 680
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    themed(page, "dark")
    assert page.pdf()[:5] == b"%PDF-"


def test_a_cell_of_which_an_attack_stopped_a_run_has_no_mean(browser, stopped_store, tmp_path):
    page, troubles = watched(browser)
    page.goto(write_report([stopped_store], tmp_path / "page.html").page.as_uri())
    page.evaluate("paint(figures.keys())")
    assert page.locator("[data-said=cell]").inner_text() == "median under non-finite-update"
    assert drawn(page, "overview-figure")[1][0] is None
    texts = page.evaluate("document.getElementById('overview-figure').data[1].text")
    assert texts[2] == "1 of 2<br>stopped"
    assert "krum" not in names(page, "classes-figure")
    note = "Stopped, without a mean: krum."
    assert page.locator("#classes-note").inner_text() == page.locator("#damage-note").inner_text() == note
    page.locator("#overview-table summary").press("Enter")
    page.get_by_role("button", name="krum under non-finite-update: 1 of 2 stopped").press("Enter")
    assert page.locator("#seed").inner_text().split("\n") == ["2", "3, not finished"]
    assert "Seed 2" in page.locator("#run-facts").inner_text()
    page.locator("#seed").select_option("3")
    assert "Not finished: round 1 of 2" in page.locator("#run-facts").inner_text()
    assert "needs n > 2f + 2" in page.locator("#provenance-run").inner_text()
    assert [told for told in troubles[1:] if not told.startswith(("data:", "blob:"))] == []


def test_lost_replies_and_no_result_are_told(browser, defective_store, tmp_path):
    page, troubles = watched(browser)
    page.goto(write_report([defective_store], tmp_path / "page.html").page.as_uri())
    page.evaluate("paint(figures.keys())")
    texts = page.evaluate("document.getElementById('overview-figure').data[1].text")
    assert texts[1] == texts[3] == "no<br>result *"
    assert "*" not in texts[0]
    assert texts[2].endswith(" *")
    lost = "2 replies were unusable: 2 x contains NaN or infinity"
    assert page.locator("[data-said=cell]").inner_text() == "fedavg under non-finite-update"
    assert page.locator("#run-notes").inner_text() == lost
    note = "No result: flwr:FedAvg."
    assert page.locator("#classes-note").inner_text() == page.locator("#damage-note").inner_text() == note
    page.locator("#overview-table summary").press("Enter")
    page.get_by_role("button", name="flwr:FedAvg under none: no result *").press("Enter")
    assert "none of the 2 rounds changed the model" in page.locator("#run-notes").inner_text()
    page.locator("#attack").select_option("1")
    page.locator("#strategy").select_option("0")
    assert page.locator("#run-notes").inner_text() == lost
    assert [told for told in troubles[1:] if not told.startswith(("data:", "blob:"))] == []


def test_unfinished_runs_are_compared_with_nothing_and_can_be_looked_at(browser, unfinished_store, tmp_path):
    page, troubles = watched(browser)
    page.goto(write_report([unfinished_store], tmp_path / "page.html").page.as_uri())
    page.evaluate("paint(figures.keys())")
    assert page.locator("[data-said=cell]").inner_text() == "fedavg under backdoor"
    assert drawn(page, "overview-figure")[1][1] is None
    assert set(names(page, "classes-figure")) == {"fedavg"}
    assert len(drawn(page, "damage-figure")) == 1
    assert page.locator("#seed").inner_text().split("\n") == ["all 1 finished", "0", "1, not finished"]
    assert "Seed 0" in page.locator("#run-facts").inner_text()
    page.locator("#seed").select_option("1")
    assert "Not finished: round 2 of 4" in page.locator("#run-facts").inner_text()
    page.evaluate("paint(figures.keys())")
    assert set(names(page, "classes-figure")) == {"fedavg"}
    page.locator("#unfinished button").first.click()
    assert page.locator("[data-said=cell]").inner_text() == "krum under backdoor"
    assert "krum: got <b>4</b> updates." in page.locator("#provenance-run").inner_text()
    page.locator("#overview-table summary").press("Enter")
    page.get_by_role("button", name="krum under backdoor: not finished").press("Enter")
    assert page.locator("#seed").inner_text() == "0, not finished"
    assert [told for told in troubles[1:] if not told.startswith(("data:", "blob:"))] == []
