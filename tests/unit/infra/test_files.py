"""How many files may be open."""

from __future__ import annotations

import resource

from infra.files import allow_open_files, open_files_max


def test_the_soft_limit_is_raised_as_far_as_the_hard_one_allows() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert allow_open_files(300) == 300
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)
        assert allow_open_files(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard), "never lowered"
        if hard != resource.RLIM_INFINITY:
            assert allow_open_files(hard + 1) == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert soft <= hard or hard == resource.RLIM_INFINITY


def test_the_most_is_the_hard_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert open_files_max() == (None if hard == resource.RLIM_INFINITY else hard)
