"""Runs a command under a system call filter that refuses io_uring, as containers do.

Usage: without_io_uring.py ERRNO COMMAND [ARGUMENT...]   where ERRNO is EPERM or ENOSYS
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
# Classic BPF: load a word at an absolute offset, jump on equality, return.
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
SYSTEM_CALL_NUMBER_OFFSET = 0
# Equal on every architecture that was added after the numbers were unified, x86-64 included.
IO_URING_CALLS = (425, 426, 427)


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def build_filter(refusal):
    """The filter as bytes: refuse the three calls, allow all others."""
    count = len(IO_URING_CALLS)
    instructions = [(LOAD_WORD, 0, 0, SYSTEM_CALL_NUMBER_OFFSET)]
    for index, number in enumerate(IO_URING_CALLS):
        instructions.append((JUMP_EQUAL, count - index, 0, number))
    instructions.append((RETURN, 0, 0, SECCOMP_RET_ALLOW))
    instructions.append((RETURN, 0, 0, SECCOMP_RET_ERRNO | refusal))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions), len(instructions)


def refuse_io_uring(refusal):
    """Installs the filter for this process and all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    code, length = build_filter(refusal)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(length, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")
    if libc.syscall(IO_URING_CALLS[0], 1, None) != -1 or ctypes.get_errno() != refusal:
        raise OSError("the filter is in place and io_uring is not refused")


if __name__ == "__main__":
    refuse_io_uring(getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
