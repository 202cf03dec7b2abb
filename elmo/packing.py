# -*- coding: utf-8 -*-
"""Parameters in a small file: mantissas are rounded, and what is left is stored so that it packs well.

A float32 has a sign, 8 bits of exponent and 23 of mantissa. Of the mantissa the first N bits are kept. A parameter
becomes planes of bytes: its exponents, of which few are frequent, then sign and mantissa, the lowest byte first. A file
is a gzip of a numpy .npz with uint8 [planes, …] for each parameter. Mantissas are random, so gzip looks for no
repetitions: Huffman codes alone are smaller, 9.59 bits a number against 10.04 with N = 6.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import gzip
import io
import re
import struct
import zipfile
import zlib

import numpy as np

from elmo.text import InputError

MANTISSA = 23  # bits of a float32
GZIP = 31  # what zlib calls a gzip with the largest window
_ENTRY = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.]*\.npy$')  # never outside the directory that it is unpacked to


def round_mantissa(array, bits):
    """The nearest float32 with so many bits of mantissa, from 1 to 23; of two as near the one whose last bit is 0.

    InputError if a number is not finite, or would not be.
    """
    drop = MANTISSA - bits
    whole = np.ascontiguousarray(array, dtype='<f4').view('<u4')
    if drop:
        whole = (whole + ((1 << (drop - 1)) - 1) + ((whole >> drop) & 1)) >> drop << drop
    found = whole.astype('<u4').view('<f4')
    if not (np.isfinite(array).all() and np.isfinite(found).all()):
        raise InputError('a parameter has a number that is not finite; take another checkpoint')
    return found


def to_planes(array, bits):
    """The planes of an array that round_mantissa has returned: uint8 [planes, …]."""
    kept = array.view('<u4') >> (MANTISSA - bits)
    rest = kept >> (bits + 8) << bits | kept & ((1 << bits) - 1)
    return np.array([kept >> bits & 255] + [rest >> shift & 255 for shift in range(0, bits + 1, 8)], dtype='uint8')


def from_planes(planes, bits):
    """The float32 array of planes."""
    rest = sum(plane.astype('<u4') << 8 * number for number, plane in enumerate(planes[1:]))
    mantissa = (rest & ((1 << bits) - 1)) << (MANTISSA - bits)
    return (rest >> bits << 31 | planes[0].astype('<u4') << MANTISSA | mantissa).astype('<u4').view('<f4')


def write(path, arrays, bits):
    """Writes {name: float32 array}, each rounded. The same arrays give the same bytes, as no time is written."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, 'w', zipfile.ZIP_STORED) as output:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, to_planes(round_mantissa(arrays[name], bits), bits), allow_pickle=False)
            output.writestr(zipfile.ZipInfo(str(name + '.npy')), entry.getvalue())
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP, 9, zlib.Z_HUFFMAN_ONLY)
    with io.open(path, 'wb') as output:
        output.write(packer.compress(whole.getvalue()) + packer.flush())


def read(path, bits):
    """{name: float32 array} of a file that `write` has written; InputError if it is none, or damaged."""
    try:
        with gzip.open(path, 'rb') as packed, zipfile.ZipFile(io.BytesIO(packed.read())) as entries:
            planes = {entry: np.lib.format.read_array(io.BytesIO(entries.read(entry)), allow_pickle=False)
                      for entry in entries.namelist()}
    except (EnvironmentError, EOFError, ValueError, struct.error, zipfile.BadZipfile, zlib.error) as error:
        raise InputError('%s: damaged: %s; copy it again, or take another' % (path, error))
    for entry, array in planes.items():
        if not _ENTRY.match(entry) or array.dtype != np.uint8 or array.ndim < 2 or len(array) != 2 + bits // 8:
            raise InputError('%s: damaged: %s holds no such numbers; copy it again, or take another' % (path, entry))
    return {entry[:-4]: from_planes(array, bits) for entry, array in planes.items()}
