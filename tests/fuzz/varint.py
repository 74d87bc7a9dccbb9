"""Numbers as Protocol Buffers write them, for the scripts beside this file that record inputs of fuzz targets."""


def varint(data, at):
    """(the number that begins at `at`, where it ends)."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
