# -*- coding: utf-8 -*-
"""Finds the root of the project. A command imports this file first, so it finds `elmo` from any directory.

The file is in tools/. The other directories with commands have symbolic links to it.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
cli = importlib.import_module('elmo.cli')  # what every command needs
ROOT = cli.as_text(sys.path[0])
