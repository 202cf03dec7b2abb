# -*- coding: utf-8 -*-
"""The library of the commands and of Python users: from elmo import Vocabulary, Segmenter, Embedder, Tagger.

Also InputError, pad and to_lod. It uses bilm.py and itself alone; but Tagger, which it hands on, is that of
lac_finetune/tagger.py. Import it before fluid, because it sets what fluid reads from the environment.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import importlib
import sys
import types

from elmo import environment

MODULES = {'InputError': 'elmo.text', 'Vocabulary': 'elmo.text', 'Segmenter': 'elmo.segment', 'pad': 'elmo.batching',
           'to_lod': 'elmo.devices', 'Embedder': 'elmo.embedder', 'Tagger': 'lac_finetune.tagger'}

environment.set_defaults()


class _Package(types.ModuleType):
    """Imports a name when it is asked for: Embedder needs fluid, which takes seconds to load; the others do not."""

    def __getattr__(self, name):
        if name not in MODULES:
            raise AttributeError('elmo has no %s' % name)
        return getattr(importlib.import_module(MODULES[name]), name)


# Python 2.7 and 3.6 have no __getattr__ of modules, so an object that has one takes the place of this module.
_package = _Package(str(__name__), __doc__)
_package.__dict__.update(globals(), _replaced=sys.modules[__name__])  # Python 2.7 empties a module that nobody holds
sys.modules[__name__] = _package
