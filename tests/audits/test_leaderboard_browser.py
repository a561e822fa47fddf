"""The page of the leaderboard in a browser: it filters, sorts and draws, and asks no network."""

import pytest
from auditing import made_card
from browsing import open_browser, rows, watched

from fedpoison.audits.card_parts import Measured
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.audits.leaderboard_page import page as text_of


@pytest.fixture(scope="module")
def browser():
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    cards = [
        made_card("fedavg", clean=0.95, worst=0.1, success=0.9),
        made_card(
            "krum", clean=0.8525, worst=0.5, success=0.1
        ),  # Python and JavaScript round 85.25 differently
        made_card("median", clean=0.9, worst=0.7, success=0.6),
    ]
    weaker = [
        row.model_copy(update={"accuracy": row.accuracy.model_copy(update={"mean": 0.05})})
        if (row.threat, row.share, row.partition) == ("untargeted", 0.4, "skewed")
        else row
        for row in cards[2].attacked
    ]
    cards[2] = cards[2].model_copy(update={"attacked": weaker})
    board = Leaderboard.of({card.strategy: card for card in cards}, {"smea": "<b>too many</b> subsets"})
    path = tmp_path_factory.mktemp("page") / "leaderboard.html"
    path.write_text(text_of(board), encoding="utf-8")
    return path


@pytest.fixture
def page(browser, file):
    page, troubles = watched(browser)
    page.goto(file.as_uri())
    yield page
    assert [trouble for trouble in troubles if not trouble.startswith(("data:", file.as_uri()))] == []
    page.close()


def cell(page, strategy, column):
    row = page.locator("table[data-table=strategies] tbody tr").filter(
        has=page.locator("th", has_text=strategy)
    )
    return row.locator("td").nth(column).inner_text()


def test_the_page_opens_with_the_numbers_of_the_table(page, file):
    assert rows(page, "strategies") == ["median", "krum", "fedavg"]
    assert cell(page, "median", 0) == "70.0 [65.0, 75.0]"
    assert cell(page, "krum", 1) == Measured(mean=0.8525, low=0.8525 - 0.05, high=0.8525 + 0.05).percent()
    assert cell(page, "krum", 9) == "median"
    assert page.locator(".point.front").count() == 2
    assert page.locator(".scatter .name").all_text_contents() == ["fedavg", "median"]
    assert "<b>too many</b> subsets" in page.locator("#missing").inner_text()
    assert "http" not in file.read_text().replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_the_filters_choose_the_attacks_that_count(page):
    page.get_by_label("Malicious").select_option("0.4")
    assert rows(page, "strategies") == ["krum", "fedavg", "median"]
    assert cell(page, "median", 8) == "ipm, skewed"
    page.get_by_label("Data").select_option("iid")
    assert rows(page, "strategies")[0] == "median"
    page.get_by_label("Threat").select_option("backdoor")
    assert rows(page, "strategies") == ["krum", "median", "fedavg"]
    assert cell(page, "krum", 8) == "backdoor(target=7), iid"
    assert page.locator("#chosen").inner_text() == "Threat: backdoor; Malicious: 40 %; Data: iid"
    page.get_by_label("Threat").select_option("")
    page.get_by_label("Attacker sees").select_option("own")
    assert cell(page, "median", 8).startswith(("label-flip", "backdoor"))


def test_the_address_repeats_filters_and_order(page, file, browser):
    page.get_by_label("Malicious").select_option("0.4")
    page.get_by_role("button", name="Without attack").click()
    assert rows(page, "strategies") == ["fedavg", "median", "krum"]
    page.get_by_role("searchbox").fill("fed")
    assert rows(page, "strategies") == ["fedavg", "median"]  # it dominates the median
    other, _ = watched(browser)
    other.goto(page.evaluate("location.href"))
    assert rows(other, "strategies") == ["fedavg", "median"]
    assert other.get_by_label("Malicious").input_value() == "0.4"
    other.close()


def test_a_point_leads_to_its_row(page):
    page.locator(".point.front").first.click()
    assert page.locator("tr.picked th").inner_text() in ("fedavg", "median")


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_sticks_out_sideways_and_the_worst_case_is_in_sight(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("table[data-table=strategies] tbody td.number").first.bounding_box()
    assert box["x"] + box["width"] <= width
    assert page.pdf()[:5] == b"%PDF-"
