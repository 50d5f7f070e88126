"""How OpenIM's content types are counted."""

from __future__ import annotations

import pytest

from consumers.openim.content_types import Content, ContentType, content_of
from consumers.openim.notices import MEMBERSHIP
from infra import metrics


@pytest.mark.parametrize(
    ("number", "content"),
    [
        (101, Content.CHAT), (113, Content.CHAT), (122, Content.CHAT), (203, Content.CHAT), (1400, Content.CHAT),
        (1201, Content.FRIEND), (1210, Content.FRIEND), (1300, Content.CONVERSATION), (1304, Content.USER),
        (1501, Content.MEMBERSHIP), (1502, Content.GROUP), (1503, Content.GROUP), (1504, Content.MEMBERSHIP),
        (1507, Content.GROUP), (1508, Content.MEMBERSHIP), (1509, Content.MEMBERSHIP), (1510, Content.MEMBERSHIP),
        (1511, Content.MEMBERSHIP), (1512, Content.GROUP), (1520, Content.GROUP), (1701, Content.CONVERSATION),
        (1704, Content.CONVERSATION), (2001, Content.BUSINESS), (2101, Content.REMOVAL), (2102, Content.REMOVAL),
        (2200, Content.READ),
        (0, Content.UNKNOWN), (100, Content.UNKNOWN), (1521, Content.UNKNOWN), (7777, Content.UNKNOWN), (-1, Content.UNKNOWN),
    ],
)  # fmt: skip
def test_a_content_type_has_a_class(number: int, content: Content) -> None:
    assert content_of(number) is content


def test_every_membership_notice_is_read() -> None:
    read = {number for number in ContentType if content_of(number) is Content.MEMBERSHIP}
    assert read == set(MEMBERSHIP)


def test_the_metric_knows_every_class() -> None:
    assert {*metrics.OPENIM_CONTENTS} == {content.value for content in Content}
