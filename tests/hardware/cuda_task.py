"""What the tasks of gpu.py run: sums on every GPU that CUDA shows them, by its driver alone.

    cuda_task.py see                     prints what CUDA shows, as JSON
    cuda_task.py work NAME FOLDER        computes and compares, then leaves FOLDER/NAME.json
        --until FILE                     goes on until FILE is there
        --memory MEBIBYTES               takes so much of each GPU meanwhile
        --alone                          fails when another task is alone as well, at this moment

Needs nothing but Python and the driver (libcuda.so.1). Each start adds a line to
FOLDER/NAME.starts.
"""

import argparse
import ctypes
import json
import os
import sys
import time
import uuid
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

# Each of `numbers` goes `rounds` times through x = 1664525 x + 1013904223.
KERNEL = b"""
.version 6.3
.target sm_50
.address_size 64
.visible .entry mix(.param .u64 numbers, .param .u32 count, .param .u32 rounds) {
  .reg .pred %p<3>;
  .reg .u32 %r<8>;
  .reg .u64 %d<4>;
  ld.param.u64 %d1, [numbers];
  ld.param.u32 %r1, [count];
  ld.param.u32 %r2, [rounds];
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %ntid.x;
  mov.u32 %r5, %tid.x;
  mad.lo.u32 %r6, %r3, %r4, %r5;
  setp.ge.u32 %p1, %r6, %r1;
  @%p1 bra DONE;
  cvta.to.global.u64 %d2, %d1;
  mul.wide.u32 %d3, %r6, 4;
  add.u64 %d2, %d2, %d3;
  ld.global.u32 %r7, [%d2];
AGAIN:
  setp.eq.u32 %p2, %r2, 0;
  @%p2 bra STORE;
  mad.lo.u32 %r7, %r7, 1664525, 1013904223;
  sub.u32 %r2, %r2, 1;
  bra AGAIN;
STORE:
  st.global.u32 [%d2], %r7;
DONE:
  ret;
}
"""
COUNT, ROUNDS, BLOCK = 1 << 20, 100_000, 256
MULTIPROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


class CudaError(Exception):
    def __init__(self, function, code):
        super().__init__(f"{function}: CUDA error {code}")
        self.code = code


class Cuda:
    """The driver; every call raises what goes wrong."""

    def __init__(self):
        self._library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", c_uint(0))
        count = c_int()
        self.call("cuDeviceGetCount", byref(count))
        self.devices = [Device(self, number) for number in range(count.value)]

    def call(self, function, *arguments):
        code = getattr(self._library, function)(*arguments)
        if code:
            raise CudaError(function, code)


class Device:
    """One GPU, and what this process has on it."""

    def __init__(self, cuda, number):
        self._call = cuda.call
        self._device = c_int()
        self._call("cuDeviceGet", byref(self._device), c_int(number))
        name, identity = ctypes.create_string_buffer(96), ctypes.create_string_buffer(16)
        self._call("cuDeviceGetName", name, c_int(len(name)), self._device)
        self._call("cuDeviceGetUuid_v2", identity, self._device)
        context = c_void_p()
        self._call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        self._context = context
        self._use()
        free, total, processors = c_size_t(), c_size_t(), c_int()
        self._call("cuMemGetInfo_v2", byref(free), byref(total))
        self._call("cuDeviceGetAttribute", byref(processors), c_int(MULTIPROCESSORS), self._device)
        self.facts = {
            "uuid": str(uuid.UUID(bytes=identity.raw)),
            "name": name.value.decode(),
            "memory": total.value,
            "free": free.value,
            "multiprocessors": processors.value,
        }

    def _use(self):
        self._call("cuCtxSetCurrent", self._context)

    def take(self, size):
        """So many bytes of its memory, written to; they are this process's until it ends."""
        self._use()
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), c_size_t(size))
        self._call("cuMemsetD32_v2", address, c_uint(1), c_size_t(size // 4))
        self._call("cuCtxSynchronize")
        return address

    def prepare(self):
        self._numbers = self.take(4 * COUNT)
        module, self._mix = c_void_p(), c_void_p()
        self._call("cuModuleLoadData", byref(module), c_char_p(KERNEL))
        self._call("cuModuleGetFunction", byref(self._mix), module, c_char_p(b"mix"))

    def compute(self):
        """Computes, and compares with what has to come out."""
        self._use()
        numbers = (c_uint * COUNT)(*range(COUNT))
        size = c_size_t(ctypes.sizeof(numbers))
        self._call("cuMemcpyHtoD_v2", self._numbers, numbers, size)
        arguments = (self._numbers, c_uint(COUNT), c_uint(ROUNDS))
        places = (c_void_p * 3)(*(ctypes.cast(byref(a), c_void_p) for a in arguments))
        grid = c_uint((COUNT + BLOCK - 1) // BLOCK)
        one, none = c_uint(1), c_uint(0)
        self._call("cuLaunchKernel", self._mix, grid, one, one, c_uint(BLOCK), one, one, none,
                   c_void_p(), places, c_void_p())  # fmt: skip
        self._call("cuCtxSynchronize")
        self._call("cuMemcpyDtoH_v2", numbers, self._numbers, size)
        factor, term = 1, 0  # all rounds together: x goes to factor * x + term
        for _ in range(ROUNDS):
            factor, term = factor * 1664525 % 2**32, (term * 1664525 + 1013904223) % 2**32
        for x in range(0, COUNT, 997):
            if numbers[x] != (factor * x + term) % 2**32:
                sys.exit(f"the GPU made {numbers[x]} of {x}")


def variables():
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("CUDA_") or name == "TRACKBED_DEVICES"
    }


def see():
    try:
        devices = [device.facts for device in Cuda().devices]
    except CudaError as error:
        if error.code != NO_DEVICE:
            raise
        devices = []
    return {"devices": devices, "variables": variables()}


def work(given):
    place = os.path.join(given.folder, given.name)
    with open(f"{place}.starts", "a") as starts:
        starts.write(f"{os.getpid()}\n")
    alone = os.path.join(given.folder, "alone")
    if given.alone:
        os.close(os.open(alone, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    cuda = Cuda()
    for device in cuda.devices:
        device.prepare()
        if given.memory:
            device.take(given.memory << 20)
        device.compute()
    facts = {
        "pid": os.getpid(),
        "devices": [device.facts for device in cuda.devices],
        "variables": variables(),
    }
    with open(f"{place}.tmp", "w") as file:
        json.dump(facts, file)
    os.rename(f"{place}.tmp", f"{place}.json")
    while given.until and not os.path.exists(given.until):
        for device in cuda.devices:
            device.compute()
        time.sleep(0.01)
    if given.alone:
        os.unlink(alone)


def main():
    parser = argparse.ArgumentParser()
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("see")
    worker = what.add_parser("work")
    worker.add_argument("name")
    worker.add_argument("folder")
    worker.add_argument("--until")
    worker.add_argument("--memory", type=int, default=0)
    worker.add_argument("--alone", action="store_true")
    given = parser.parse_args()
    if given.what == "see":
        print(json.dumps(see()))
    else:
        work(given)


main()
