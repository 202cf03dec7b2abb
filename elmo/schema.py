# -*- coding: utf-8 -*-
"""What a JSON file may hold, which may come from anywhere: a check for each of its values.

A check is a function of a value that returns what is wrong with it, an empty text if nothing is. A schema is a dict of
checks by name, and may have schemas in it. What is not there counts as null. Further names are left alone.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import numbers

import six
from six.moves import filter, map


def problem(value, schema):
    """What is wrong with a value, by its schema; an empty text if nothing is."""
    if not isinstance(schema, dict):
        return schema(value)
    if not isinstance(value, dict):
        return 'no names and values in it'
    for name, check in sorted(schema.items()):
        found = problem(value.get(name), check)
        if found:
            return '%s: %s' % (name, found)
    return ''


def shown(value):
    """A value as JSON, cut off where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + ' …'


def _check(wanted, good):
    return lambda value: '' if good(value) else '%s is not %s' % (shown(value), wanted)


def _number(kind, name, low, high):
    return _check('%s from %s to %s' % (name, low, high), lambda value: (
        isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high))  # true is 1 in Python


def whole(low=0, high=2 ** 31 - 1):
    """A whole number in these bounds."""
    return _number(numbers.Integral, 'a whole number', low, high)


def real(low=0., high=1e300):
    """A number in these bounds, which is finite: JSON in Python knows NaN and Infinity."""
    return _number(numbers.Real, 'a number', low, high)


def text(longest=4096):
    """A text of at most so many characters."""
    return _check('a text', lambda value: isinstance(value, six.text_type) and len(value) <= longest)


def one_of(*values):
    """One of these values."""
    return _check('one of %s' % ', '.join(map(shown, values)), lambda value: value in values)


truth = _check('true or false', lambda value: isinstance(value, bool))


# What a flag may be.
scalar = _check('a text, a number, true or false', lambda value: (
    value is None or isinstance(value, six.text_type) or
    isinstance(value, numbers.Real) and abs(value) < float('inf')))


def or_null(schema):
    """What a schema says, or nothing."""
    return lambda value: '' if value is None else problem(value, schema)


def each(kind, check):
    """A list or a dict whose values are all as a check says."""
    def found(value):
        if not isinstance(value, kind):
            return '%s is not a %s' % (shown(value), kind.__name__)
        values = value.values() if kind is dict else value
        return next(filter(None, map(check, values)), '')

    return found
