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


class _FileOfHdf5(io.FileIO):
    """A file for HDF5, which crashes where a write fails. It keeps the first error, and drops what comes after it."""

    error = None

    def _keep_error(self, function, *args):
        if not self.error:
            try:
                return function(*args)
            except EnvironmentError as error:
                self.error = error

    def write(self, data):
        data, done = memoryview(data), 0
        while done < len(data) and not self.error:
            done += self._keep_error(super(_FileOfHdf5, self).write, data[done:]) or 0
        return len(data)

    def truncate(self, size=None):
        self._keep_error(super(_FileOfHdf5, self).truncate, size)
        return size

    def check(self):
        if self.error:
            raise self.error


@contextlib.contextmanager
def hdf5(path):
    """Yields a function of (key, array) that writes an array, perhaps one on disk, as a dataset.

    EnvironmentError if that is not possible, as on a full disk.
    """
    h5py = import_h5py()
    with _FileOfHdf5(path, 'w+') as target:
        target.seek(0)  # not possible in a pipe
        try:
            with h5py.File(target, 'w') as output:
                def write(key, array):
                    dataset = output.create_dataset(key, array.shape, array.dtype)
                    for start in range(0, array.shape[0], ROWS):
                        dataset[start:start + ROWS] = array[start:start + ROWS]
                        target.check()

                yield write
        finally:
            target.check()  # it says more than what HDF5 makes of it


@contextlib.contextmanager
def hdf5_of_vectors(path):
    """As hdf5, for arrays [layers, tokens, D] or [tokens, D]; each dataset has three dimensions."""
    with hdf5(path) as write:
        yield lambda key, array: write(key, array if array.ndim == 3 else array[None])


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


def check_shape(path, shape):
    """InputError unless the parameter in a file of fluid.io.save_vars has this shape, a tuple."""
    found = shape_on_disk(path)
    if found != shape:
        raise InputError('%s: has shape %s, needed is %s' % (path, list(found), list(shape)))


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
