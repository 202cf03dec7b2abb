# -*- coding: utf-8 -*-
"""Where the project is. A command imports this file first, so that it finds `elmo` from any directory.

tools/ has the file; the other directories with commands have links to it.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
cli = importlib.import_module('elmo.cli')  # what every command needs
ROOT = cli.as_text(sys.path[0])
