# -*- coding: utf-8 -*-
"""Arrays in files: .npz and HDF5, written one array at a time, and the parameter files of a checkpoint."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import os
import struct
import zipfile

import numpy as np
from paddle.fluid.proto import framework_pb2

import bilm
from elmo.text import InputError

ROWS = 4096  # of a parameter at a time, so that memory is bounded


@contextlib.contextmanager
def npz(path):
    """Yields a function of (key, array) that writes an array as numpy.savez does, but one at a time."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED, allowZip64=True) as output:
        def write(key, array):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            output.writestr(str(key + '.npy'), entry.getvalue())

        yield write


@contextlib.contextmanager
def hdf5(path):
    """Yields a function of (key, array) that writes an array [layers, tokens, D] or [tokens, D] as a dataset of three
    dimensions.
    """
    with import_h5py().File(path, 'w') as output:
        yield lambda key, array: output.create_dataset(key, data=array if array.ndim == 3 else array[None])


def import_h5py():
    """h5py, which nothing else needs; InputError if it is not installed."""
    try:
        import h5py
    except ImportError:
        raise InputError('h5py is not installed: python -m pip install h5py, or write an .npz')
    return h5py


def shape_on_disk(path):
    """The shape of the parameter in a file of fluid.io.save_vars; InputError if the file is not a whole one."""
    try:
        return bilm.read_shape(path)
    except bilm.CheckpointError as error:
        raise InputError('%s; take another checkpoint' % error)


def open_parameter(path):
    """The parameter in a file of fluid.io.save_vars, float32 on disk; InputError if the file is not a whole one."""
    shape = shape_on_disk(path)
    return np.memmap(path, dtype='<f4', mode='r', offset=os.path.getsize(path) - 4 * int(np.prod(shape)), shape=shape)


def write_parameter(path, array):
    """Writes an array, perhaps one on disk, as fluid.io.save_vars does; see bilm.read_shape for the layout."""
    tensor = framework_pb2.VarType.TensorDesc()
    tensor.data_type = framework_pb2.VarType.FP32
    tensor.dims.extend(array.shape)
    description = tensor.SerializeToString()
    with io.open(path, 'wb') as output:
        output.write(struct.pack(str('<IQIi'), 0, 0, 0, len(description)) + description)
        for start in range(0, array.shape[0], ROWS):
            output.write(np.ascontiguousarray(array[start:start + ROWS], dtype='<f4').tobytes())
