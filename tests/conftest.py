# -*- coding: utf-8 -*-
"""Fixtures."""
from __future__ import absolute_import, division, print_function, unicode_literals

from helpers import Corpus  # comes before fluid: it finds the project
import paddle.fluid as fluid
import pytest


@pytest.fixture
def fresh_scope():
    """fluid's global scope for one test alone."""
    with fluid.scope_guard(fluid.Scope()):
        yield


@pytest.fixture
def corpus(tmpdir):
    return Corpus(tmpdir)
