import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.tags import MAX_TAGS, encode_tags, merge_tags, parse_tags

names = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=64)
printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters=",")
values = st.text(printable, min_size=1, max_size=128).filter(lambda text: text == text.strip())
tags = st.dictionaries(names, values, max_size=MAX_TAGS)
spaces = st.sampled_from(["", " ", "\t ", "  "])


@given(tags)
def test_what_is_encoded_is_read_back(given_tags):
    assert parse_tags(encode_tags(given_tags)) == given_tags


@given(tags, st.randoms())
def test_the_same_tags_have_one_text(given_tags, random):
    shuffled = list(given_tags.items())
    random.shuffle(shuffled)
    assert encode_tags(dict(shuffled)) == encode_tags(given_tags)


@given(tags, st.data())
def test_space_and_empty_parts_do_not_count(given_tags, data):
    def space():
        return data.draw(spaces)

    parts = [f"{space()}{name}{space()}={space()}{value}{space()}" for name, value in given_tags.items()]
    text = ",".join(part for one in parts for part in (one, space()))
    assert parse_tags(text) == given_tags


@given(st.text(max_size=60) | st.text("ab=, \t\n\0é.", max_size=60))
def test_any_text_is_read_or_refused_and_what_is_read_fits(text):
    try:
        read = parse_tags(text)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017 - either is fine
        return
    assert len(read) <= MAX_TAGS
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) for name in read)
    assert all(0 < len(value) <= 128 and value.isascii() and value.isprintable() for value in read.values())
    assert parse_tags(encode_tags(read)) == read


@given(tags, tags)
def test_a_keys_own_tags_win(own, request_tags):
    merged = own | {name: value for name, value in request_tags.items() if name not in own}
    if len(merged) > MAX_TAGS:
        with pytest.raises(ValueError, match="more than 8"):
            merge_tags(encode_tags(own), encode_tags(request_tags))
    else:
        assert merge_tags(encode_tags(own), encode_tags(request_tags)) == encode_tags(merged)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("team", "the form `name=value`"),
        ("team=", "value of the tag 'team'"),
        ("team=ä", "value of the tag 'team'"),
        (f"team={'x' * 129}", "value of the tag 'team'"),
        ("=a", "name of a tag"),
        ("te am=a", "name of a tag"),
        (f"{'n' * 65}=a", "name of a tag"),
        ("a=1,a=1", "is there twice"),
        (",".join(f"n{number}=1" for number in range(MAX_TAGS + 1)), "more than 8"),
    ],
)
def test_what_is_no_tag_is_said(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_tags(text)


def test_a_value_may_hold_an_equals_sign_and_spaces():
    assert parse_tags("formula=a = b") == {"formula": "a = b"}


def test_without_tags_there_is_no_text():
    assert encode_tags({}) == ""
    assert merge_tags("", "") == ""
    assert parse_tags("") == {}
