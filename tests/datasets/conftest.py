"""Archives are unpacked into a folder that is gone after the test."""

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SOFTMI_CACHE", str(folder))
    return folder
