"""The documentation page works on a laptop without the internet."""

from __future__ import annotations

import re


def test_the_page_loads_nothing_from_elsewhere(client) -> None:
    for page in ("/docs", "/redoc"):
        html = client.get(page).text
        wanted = re.findall(r"""(?:src|href)=["']([^"']+)["']""", html)
        assert wanted
        for url in wanted:
            assert url.startswith("/"), f"{page} asks {url}"
            assert client.get(url).status_code == 200
