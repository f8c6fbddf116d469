"""How tests start Chromium."""

import shutil
from typing import Any

from playwright.sync_api import Browser, Playwright

# Each window loads four hundred files of its own address bar, which takes longer than our page.
_ADDRESS_BAR = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup"),
    "PreloadTopChromeWebUI",
)
# Playwright turns these off too; of two lists Chromium reads the last.
_AS_PLAYWRIGHT = (
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "HttpsUpgrades", "MediaRouter"),
    *("NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch"),
)


def find() -> str | None:
    """Return the path of the Chromium of this machine."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def launch(playwright: Playwright, **options: Any) -> Browser:
    """Start it without a window."""
    return playwright.chromium.launch(
        executable_path=find(),
        args=[
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--disable-features={','.join(_ADDRESS_BAR + _AS_PLAYWRIGHT)}",
        ],
        **options,
    )
