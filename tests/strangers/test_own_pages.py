"""The endpoint's own pages in a real Chromium: they run nothing, fetch nothing, and fit a phone, light and dark."""

from __future__ import annotations

import json

import httpx
import pytest

pytestmark = pytest.mark.programs  # as the others, with which they share the house

EVIL = "<img src=x onerror=document.title='run'><script>document.title='run'</script> What is 3 + 4?"


@pytest.fixture(scope="module")
def asked(house):
    """The id of a request with a plan, whose texts are markup."""
    with httpx.Client(base_url=house.endpoint, timeout=60) as http:
        house.until(lambda: http.get("/readyz").json()["conductor"])
        body = {"model": "fugu-ultra", "messages": [{"role": "user", "content": EVIL}]}
        return http.post("/v1/chat/completions", json=body).raise_for_status().headers["X-Request-Id"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_the_pages_are_readable_and_run_nothing(browser, house, asked, scheme, width):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    phone = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get_log("performance")
    for path, title in (("/", "fugu-flows"), (f"/requests/{asked}", asked)):
        browser.get(f"{house.endpoint}{path}")
        assert browser.title == title
        shown = browser.execute_script(
            """
            document.querySelectorAll("details").forEach(each => each.open = true);
            const style = getComputedStyle(document.body);
            return {text: document.body.innerText, wide: document.documentElement.scrollWidth,
                    ink: style.color, paper: style.backgroundColor, plans: document.querySelectorAll("svg").length};
            """
        )
        assert "document.title='run'" in shown["text"] and "Answer: 7" in shown["text"] and shown["plans"] == 1
        assert shown["wide"] <= width and browser.title == title
        ink, paper = (
            sum(int(part) for part in shown[name].strip("rgba()").split(",")[:3]) for name in ("ink", "paper")
        )
        assert (ink < 200 and paper > 700) if scheme == "light" else (ink > 600 and paper < 100)
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asks = [m["params"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    # The log may still hold what the browser's own first page asks for, under that page's address.
    fetched = {ask["request"]["url"] for ask in asks if ask["documentURL"].startswith(house.endpoint)}
    fetched = {url.removeprefix(house.endpoint) for url in fetched}
    assert {"/", f"/requests/{asked}"} <= fetched <= {"/", f"/requests/{asked}", "/favicon.ico"}
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_page_of_another_origin_neither_reads_nor_frames_them(browser, house, pages, asked):
    browser.get(f"http://127.0.0.1:{pages[0]}/")
    told = browser.execute_async_script(
        """
        const [url, done] = arguments;
        const frame = document.createElement("iframe");
        frame.src = url;
        frame.onload = async () => {
            let inside = "blocked";
            try { inside = frame.contentDocument?.body?.innerText || "blocked"; } catch { }
            done([inside, await fetch(url).then(() => "read", () => "refused")]);
        };
        document.body.append(frame);
        """,
        f"{house.endpoint}/requests/{asked}",
    )
    assert told == ["blocked", "refused"]
