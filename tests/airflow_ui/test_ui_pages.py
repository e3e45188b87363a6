"""The pages as people use them, in a browser, in Airflow's own UI."""

import re

import pytest
from browser import log_in
from gallery_site import ADMIN, BOARD, NEWSROOM
from playwright.sync_api import expect

pytestmark = pytest.mark.ui

GALLERY = "/plugin/kling-clips"
TASKS = f"/dags/{NEWSROOM}/runs/of-{NEWSROOM}/tasks"
MORNING = f"{TASKS}/morning/plugin/kling-clip"
REJECTED = f"{TASKS}/rejected/mapped/0/plugin/kling-clip"
OF_DAG = f"/dags/{NEWSROOM}/plugin/kling-dag-clips"
CONTRAST = """elements => {
  const [pen] = [document.createElement("canvas").getContext("2d", {willReadFrequently: true})];
  const over = (colour, [r, g, b]) => {  // what is seen of a colour, in any notation, on another one
    pen.fillStyle = `rgb(${r} ${g} ${b})`; pen.fillRect(0, 0, 1, 1);
    pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const ground = element => !element ? [255, 255, 255]
    : over(getComputedStyle(element).backgroundColor, ground(element.parentElement));
  const light = rgb => rgb.map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  return elements.filter(element => element.checkVisibility() && !element.disabled
      && [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
    .map(element => {
      const back = ground(element), front = over(getComputedStyle(element).color, back);
      const [dark, bright] = [light(back), light(front)].sort((one, other) => one - other);
      return {text: element.textContent.slice(0, 60), ratio: (bright + 0.05) / (dark + 0.05), back};
    });
}"""
"""Of each element with a text of its own: the contrast with what lies beneath, as WCAG 2 counts it."""


def card(page, task):
    return page.locator(".kc-card").filter(has=page.get_by_role("heading", name=task))


def playing(video):
    """Start a video by the keyboard and wait until it has moved."""
    video.scroll_into_view_if_needed()
    expect(video).to_have_js_property("readyState", 4)
    video.press("Space")
    video.page.wait_for_function("video => video.currentTime > 0.3", arg=video.element_handle())


def contrasts(page):
    """Return the contrast of each text on one of our pages."""
    expect(page.locator(".kling-clips .kc-badge").first).to_be_visible()
    found = page.locator(".kling-clips *:not(style):not(option)").evaluate_all(CONTRAST)
    assert {"Refresh", "morning"} <= {text["text"] for text in found}
    return found


def test_the_navigation_leads_to_the_gallery_which_shows_three_states(admin, open_page):
    page = open_page(admin, "/")
    page.get_by_role("link", name="Kling clips").or_(page.get_by_role("button", name="Plugins")).first.click()
    if not page.url.endswith(GALLERY):  # in the menu of all plugins
        page.get_by_text("Kling clips", exact=True).first.click()
    page.wait_for_url(f"**{GALLERY}")

    expect(page.locator(".kc-card")).to_have_count(5)
    for task, state in (
        ("morning", "Ready"),
        ("evening", re.compile("^Rendering for ")),
        ("rejected, row 0", "Failed"),
        ("results", "Ready"),
    ):
        expect(card(page, task).locator(".kc-badge")).to_have_text(state)
    expect(card(page, "rejected, row 0")).to_contain_text("content moderation")
    expect(card(page, "evening")).to_contain_text("There is no video yet")
    expect(page.get_by_role("status")).to_contain_text("1 under way")


@pytest.mark.parametrize("path", [GALLERY, MORNING, OF_DAG], ids=["gallery", "clip tab", "Dag tab"])
def test_a_clip_plays_in_place_and_can_be_sought(admin, open_page, path):
    page = open_page(admin, path)
    video = (page.locator(".kc-clip") if path is MORNING else card(page, "morning")).locator("video")
    playing(video)

    sought = video.evaluate(
        "video => new Promise(done => { video.pause(); video.onseeked = () => done(video.currentTime / video.duration);"
        " video.currentTime = video.duration * 0.7; })"
    )
    assert 0.65 < sought < 0.75
    assert video.evaluate("video => video.videoWidth") > 100


def test_filters_narrow_the_gallery_down_and_can_be_shared_as_an_address(admin, open_page):
    page = open_page(admin, GALLERY)
    page.get_by_label("State").select_option("Failed")
    expect(page.locator(".kc-card")).to_have_count(1)
    expect(card(page, "rejected, row 0")).to_be_visible()

    again = open_page(admin, page.url)
    expect(again.locator(".kc-card")).to_have_count(1)
    again.get_by_role("combobox", name="Dag", exact=True).select_option(BOARD)
    expect(again.get_by_text("No clips match")).to_be_visible()
    again.get_by_role("button", name="Clear the filters").click()
    expect(again.locator(".kc-card")).to_have_count(5)


def test_links_lead_to_the_clip_tab_and_to_airflows_pages_of_the_task(admin, open_page):
    page = open_page(admin, GALLERY)
    card(page, "rejected, row 0").get_by_role("link", name="rejected, row 0").click()
    page.wait_for_url(f"**{REJECTED}")
    expect(page.locator(".kc-clip")).to_contain_text("content moderation")

    page.locator(".kc-clip").get_by_role("link", name="0", exact=True).click()
    page.wait_for_url(re.compile(f"{TASKS}/rejected/mapped/0$"))
    expect(page.get_by_role("heading", name=re.compile("rejected")).first).to_be_visible()
    page.get_by_role("link", name="Kling clip", exact=True).click()
    page.wait_for_url(f"**{REJECTED}")


def test_the_clip_tab_tells_all_of_a_clip_and_hands_out_its_file(admin, open_page, site):
    page = open_page(admin, MORNING)
    clip = page.locator(".kc-clip")
    for heading in ("Clip", "Cost", "Times", "Ids", "In Airflow"):
        expect(clip.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    expect(clip).to_contain_text(f"{site.clips}/newsroom/morning-of-{NEWSROOM}.mp4")
    with page.expect_download() as download:
        clip.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes()[4:8] == b"ftyp"


def test_a_task_of_others_says_that_it_has_no_clip(admin, open_page):
    page = open_page(admin, f"{TASKS}/unknown/plugin/kling-clip")
    expect(page.get_by_text("This task has no clip (yet)")).to_be_visible()


def test_the_dag_tab_shows_its_costs_by_day_and_run_and_its_own_clips_only(admin, open_page):
    page = open_page(admin, OF_DAG)
    expect(page.get_by_role("table", name="By day")).to_contain_text("USD")
    expect(page.get_by_role("table", name="By run")).to_contain_text(f"of-{NEWSROOM}")
    expect(page.locator(".kc-card")).to_have_count(3)


def test_the_gallery_can_be_used_by_keyboard_alone(admin, open_page):
    """What is reached by Tab shows that it is; a choice is made, a clip is found, and Enter leads to its page."""
    page = open_page(admin, GALLERY)
    expect(page.locator(".kc-card")).to_have_count(5)

    def tab_to(element):
        for _ in range(100):
            if element.evaluate("element => element === document.activeElement"):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"Tab does not lead to {element}")

    page.get_by_role("combobox", name="Dag", exact=True).focus()
    state = page.get_by_label("State")
    tab_to(state)
    assert state.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
    page.keyboard.press("f")  # of "Failed"
    expect(page.locator(".kc-card")).to_have_count(1)
    expect(state).to_be_focused()

    tab_to(card(page, "rejected, row 0").get_by_role("link", name="rejected, row 0"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{REJECTED}")


def test_on_a_narrow_screen_the_cards_stand_in_one_column_and_nothing_lies_beside_it(admin, open_page):
    page = open_page(admin, GALLERY)
    cards = page.locator(".kc-card")
    expect(cards).to_have_count(5)

    def columns():
        return len({round(one.bounding_box()["x"]) for one in cards.all()})

    assert columns() > 1
    page.set_viewport_size({"width": 400, "height": 800})
    assert columns() == 1
    beside = page.locator(".kling-clips").evaluate(
        """ours => {
          const right = ours.getBoundingClientRect().right + 1;
          return [...ours.querySelectorAll("*")]
            .filter(element => element.checkVisibility() && element.getBoundingClientRect().right > right)
            .map(element => `${element.className} ${element.textContent}`.slice(0, 80));
        }"""
    )
    assert beside == []
    page.get_by_label("State").select_option("Failed")
    expect(cards).to_have_count(1)


@pytest.fixture(scope="module")
def admin_in_the_dark(browser, site):
    return log_in(browser, site.airflow.url, ADMIN, dark=True)


@pytest.mark.parametrize("path", [GALLERY, MORNING, OF_DAG], ids=["gallery", "clip tab", "Dag tab"])
def test_in_dark_mode_every_text_stands_out_from_what_is_beneath_it(admin_in_the_dark, open_page, path):
    texts = contrasts(open_page(admin_in_the_dark, path))
    assert [text for text in texts if text["ratio"] < 4.5] == []
    assert all(max(text["back"]) < 128 for text in texts if text["text"] == "Refresh")


def test_in_light_mode_too(admin, open_page):
    texts = contrasts(open_page(admin, GALLERY))
    assert [text for text in texts if text["ratio"] < 4.5] == []
    assert all(min(text["back"]) > 128 for text in texts if text["text"] == "Refresh")


def test_an_editor_sees_the_clips_of_the_dags_that_are_his_and_no_trace_of_others(editor, open_page):
    page = open_page(editor, GALLERY)
    expect(page.locator(".kc-card")).to_have_count(4)
    expect(card(page, "results")).to_have_count(0)
    assert BOARD not in page.content()

    page = open_page(editor, f"/dags/{BOARD}/runs/of-{BOARD}/tasks/results/plugin/kling-clip")
    expect(
        page.get_by_text("You have no right to see this").or_(page.get_by_text("403")).first
    ).to_be_visible()
    assert page.locator("video").count() == 0
